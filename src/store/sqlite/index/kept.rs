//! In which form a live session is kept. Of a million that wait each byte counts: one that waits as it was admitted is
//! kept as the few values by which it differs from others, and is made whole for who asks.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::{CustomerKey, Revision, SessionId};
use crate::session::{Phase, SessionRecord};
use crate::store::{Glance, Stored};
use crate::token::TokenHash;

/// A live session.
#[derive(Debug)]
pub(super) enum Kept {
    /// It waits, and nothing has happened to it since it was admitted.
    Waiting {
        customer: CustomerKey,
        deadline: Timestamp,
        id: SessionId,
        token: TokenHash,
        /// The number of its persona.
        persona: u16,
    },
    /// Any other.
    Whole(Arc<Stored>),
}

/// Names of personas, which are few: each is there once, and known by its number.
#[derive(Debug, Default)]
pub(super) struct Personas(Vec<Arc<str>>);

impl Kept {
    pub(super) fn new(stored: Stored, personas: &mut Personas) -> Self {
        Self::waiting(&stored, personas).unwrap_or_else(|| Self::Whole(Arc::new(stored)))
    }

    pub(super) fn id(&self) -> SessionId {
        match self {
            Self::Waiting { id, .. } => *id,
            Self::Whole(stored) => stored.record.id,
        }
    }

    pub(super) fn customer(&self) -> &str {
        match self {
            Self::Waiting { customer, .. } => customer.as_str(),
            Self::Whole(stored) => stored.record.customer.as_str(),
        }
    }

    /// When it expires, if it is pending.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        match self {
            Self::Waiting { deadline, .. } => Some(*deadline),
            Self::Whole(stored) => pending_deadline(&stored.record),
        }
    }

    /// The session as it was put here.
    pub(super) fn whole(&self, personas: &Personas) -> Arc<Stored> {
        match self {
            Self::Waiting { customer, deadline, id, token, persona } => {
                let record = SessionRecord {
                    id: *id,
                    customer: customer.clone(),
                    email: None,
                    persona: Arc::clone(personas.name(*persona)),
                    created: id.requested(),
                    revision: Revision::FIRST,
                    phase: Phase::admitted(*deadline),
                };
                Arc::new(Stored { record, tokens: [*token].into_iter().collect() })
            }
            Self::Whole(stored) => Arc::clone(stored),
        }
    }

    /// Has it looked at, without making it whole.
    pub(super) fn is_wanted(&self, personas: &Personas, wanted: impl Fn(&Glance<'_>) -> bool) -> bool {
        match self {
            Self::Waiting { deadline, id, persona, .. } => wanted(&Glance {
                id: *id,
                persona: personas.name(*persona),
                phase: &Phase::admitted(*deadline),
                revision: Revision::FIRST,
            }),
            Self::Whole(stored) => wanted(&Glance::of(&stored.record)),
        }
    }

    /// Nothing of a session that would not be told in full.
    fn waiting(stored: &Stored, personas: &mut Personas) -> Option<Self> {
        let Stored { record, tokens } = stored;
        let (deadline, [token]) = (pending_deadline(record)?, &**tokens) else { return None };
        let is_as_admitted = record.phase == Phase::admitted(deadline)
            && record.revision == Revision::FIRST
            && record.email.is_none()
            && record.created == record.id.requested();
        is_as_admitted.then_some(())?;
        Some(Self::Waiting {
            customer: record.customer.clone(),
            deadline,
            id: record.id,
            token: *token,
            persona: personas.number(&record.persona)?,
        })
    }
}

impl Personas {
    /// The number of a name; nothing if there are more names than anybody configures.
    fn number(&mut self, name: &Arc<str>) -> Option<u16> {
        const MOST: usize = 256;
        let known = self.0.iter().position(|known| known == name);
        let position = known.or_else(|| {
            (self.0.len() < MOST).then(|| {
                self.0.push(Arc::clone(name));
                self.0.len() - 1
            })
        });
        u16::try_from(position?).ok()
    }

    fn name(&self, number: u16) -> &Arc<str> {
        &self.0[usize::from(number)]
    }
}

/// When a session expires, if it is pending.
pub(super) fn pending_deadline(record: &SessionRecord) -> Option<Timestamp> {
    match &record.phase {
        Phase::Pending { deadline, .. } => Some(*deadline),
        Phase::Starting { .. } | Phase::Running { .. } | Phase::Stopping { .. } | Phase::Ended { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::id::Epoch;
    use crate::session::Reason;
    use crate::store::Tokens;

    #[test]
    fn a_session_that_waits_takes_few_bytes_beside_its_customers_name() {
        let kept = Kept::new(admitted(), &mut Personas::default());
        assert!(matches!(kept, Kept::Waiting { .. }));
        assert!(size_of::<Option<Kept>>() <= 80, "{}", size_of::<Option<Kept>>());
    }

    #[test]
    fn whatever_has_become_of_a_session_it_is_made_whole_as_it_was() {
        let deadline = Timestamp::from_micros(7);
        let pending = |epoch, failed_starts, why: Option<&str>| Phase::Pending {
            deadline,
            epoch: Epoch(epoch),
            failed_starts,
            last_failure: why.map(|why| Box::new(Reason::new(why))),
        };
        let changes: [&dyn Fn(&mut Stored); 9] = [
            &|_| (),
            &|stored| stored.record.phase = pending(1, 0, None),
            &|stored| stored.record.phase = pending(0, 1, None),
            &|stored| stored.record.phase = pending(0, 0, Some("no")),
            &|stored| stored.record.revision = Revision(2),
            &|stored| stored.record.email = Some("Ann".into()),
            &|stored| stored.record.created = WallTime::from_unix_millis(9),
            &|stored| stored.tokens.push(TokenHash([5; 32])),
            &|stored| stored.tokens = Tokens::default(),
        ];
        for change in changes {
            let mut stored = admitted();
            change(&mut stored);
            let (mut personas, expected) = (Personas::default(), stored.clone());
            personas.number(&"OTHERS".into());
            let kept = Kept::new(stored, &mut personas);
            let whole = kept.whole(&personas);
            assert_eq!((&whole.record, &*whole.tokens), (&expected.record, &*expected.tokens));
            assert_eq!((kept.id(), kept.customer()), (expected.record.id, expected.record.customer.as_str()));
            assert_eq!(kept.deadline(), Some(deadline));
            assert!(kept.is_wanted(&personas, |glance| *glance == Glance::of(&expected.record)));
        }
    }

    #[test]
    fn a_session_of_one_persona_too_many_is_kept_whole() {
        let mut personas = Personas::default();
        for number in 0..300 {
            personas.number(&number.to_string().into());
        }
        let kept = Kept::new(admitted(), &mut personas);
        assert_eq!(kept.whole(&personas).record, admitted().record);
    }

    fn admitted() -> Stored {
        let created = WallTime::from_unix_millis(1_700_000_000_000);
        let record = SessionRecord {
            id: SessionId::new(created, [3; 10]),
            customer: CustomerKey::new("ann@example.org"),
            email: None,
            persona: "CUSTOMERS".into(),
            created,
            revision: Revision::FIRST,
            phase: Phase::admitted(Timestamp::from_micros(7)),
        };
        Stored { record, tokens: [TokenHash([4; 32])].into_iter().collect() }
    }
}
