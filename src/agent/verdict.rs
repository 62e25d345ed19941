//! What the end of an agent's process means for its session, in words. Pure.

use std::fmt::Display;

use crate::session::{Ending, Outcome, Reason};
use crate::shim::wire::{End, How};

use super::AgentEnd;

/// Why an agent is being ended, decided once.
#[derive(Clone, Debug)]
pub(super) enum Cause {
    /// Somebody asked for it.
    Stop,
    /// It said that it had finished.
    Finished(Ending),
    /// It broke a rule, or does not answer.
    Lost(Reason),
}

/// When it ended, for the sentence about it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Moment {
    BeforeReady,
    AfterReady,
}

impl Cause {
    /// The reason with which requests fail from then on.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Stop => Reason::new("it was stopped"),
            Self::Finished(ending) => ending.reason.clone(),
            Self::Lost(reason) => reason.clone(),
        }
    }
}

impl From<Cause> for AgentEnd {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::Stop => Self::Stopped,
            Cause::Finished(ending) => Self::Finished(ending),
            Cause::Lost(reason) => Self::Lost(reason),
        }
    }
}

/// The end of an agent that nobody asked to end. `log` is the end of its log, in words.
pub(super) fn of(end: &End, speaks: bool, moment: Moment, log: &str) -> AgentEnd {
    let reason = reason(end, speaks, moment, log);
    if speaks || matches!(end.how, How::NotStarted(_)) {
        return AgentEnd::Lost(reason);
    }
    AgentEnd::Finished(match (&end.how, &end.because) {
        (How::Exited(0), None) => Ending::new(Outcome::Completed, Reason::new("the command exited with status 0")),
        (How::Exited(_) | How::Signaled(_) | How::NotStarted(_), _) => Ending::new(Outcome::Failed, reason),
    })
}

fn reason(end: &End, speaks: bool, moment: Moment, log: &str) -> Reason {
    if let Some(because) = &end.because {
        return Reason::new(format!("killed: {because}")).with_detail(log);
    }
    let how = match &end.how {
        How::NotStarted(why) => return not_started(why),
        How::Exited(status) => format!("exited with status {status}"),
        How::Signaled(signal) => format!("was killed by signal {signal}"),
    };
    let when = match moment {
        Moment::BeforeReady => " before it was ready",
        Moment::AfterReady if speaks => " without sending `finished`",
        Moment::AfterReady => "",
    };
    Reason::new(format!("the agent {how}{when}")).with_detail(log)
}

/// An agent that could not be started: `why` may name paths, users and services of the machine, for operators only.
pub(super) fn not_started(why: impl Display) -> Reason {
    Reason::new("the server could not run the agent").with_detail(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "its log is empty";

    fn ended(how: How, because: Option<&str>) -> End {
        End { how, because: because.map(str::to_owned), last_begun: None }
    }

    fn lost(end: AgentEnd) -> String {
        match end {
            AgentEnd::Lost(reason) => reason.in_full(),
            AgentEnd::Stopped | AgentEnd::Finished(_) => panic!("{end:?}"),
        }
    }

    fn finished(end: AgentEnd) -> (Outcome, String) {
        match end {
            AgentEnd::Finished(Ending { outcome, reason }) => (outcome, reason.in_full()),
            AgentEnd::Stopped | AgentEnd::Lost(_) => panic!("{end:?}"),
        }
    }

    #[test]
    fn an_agent_that_exits_unasked_is_lost_whatever_its_status() {
        let end = of(&ended(How::Exited(0), None), true, Moment::AfterReady, LOG);
        assert_eq!(lost(end), "the agent exited with status 0 without sending `finished`; its log is empty");
        let end = of(&ended(How::Signaled(11), None), true, Moment::BeforeReady, LOG);
        assert_eq!(lost(end), "the agent was killed by signal 11 before it was ready; its log is empty");
    }

    #[test]
    fn only_operators_are_told_what_the_agent_wrote_to_its_log_and_what_the_machine_said() {
        for how in [How::Exited(1), How::NotStarted("/srv/agent.py: no such file".into())] {
            let AgentEnd::Lost(reason) = of(&ended(how, None), true, Moment::BeforeReady, "/srv/agent.py: KeyError")
            else {
                panic!("it is not lost");
            };
            assert!(!reason.to_string().contains("/srv") && reason.in_full().contains("/srv"), "{reason:?}");
        }
    }

    #[test]
    fn a_limit_that_ended_it_is_the_reason() {
        let end = ended(How::Signaled(9), Some("over its memory limit of 512 MiB"));
        assert_eq!(
            lost(of(&end, true, Moment::AfterReady, LOG)),
            "killed: over its memory limit of 512 MiB; its log is empty"
        );
        assert_eq!(finished(of(&end, false, Moment::AfterReady, LOG)).0, Outcome::Failed);
    }

    #[test]
    fn the_status_of_a_plain_command_is_its_outcome() {
        let end = of(&ended(How::Exited(0), None), false, Moment::AfterReady, LOG);
        assert_eq!(finished(end), (Outcome::Completed, "the command exited with status 0".into()));
        let end = of(&ended(How::Exited(2), None), false, Moment::AfterReady, LOG);
        assert_eq!(finished(end), (Outcome::Failed, "the agent exited with status 2; its log is empty".into()));
    }

    #[test]
    fn a_command_that_could_not_be_started_is_lost_and_says_why() {
        let end = of(&ended(How::NotStarted("no such file".into()), None), false, Moment::BeforeReady, LOG);
        assert_eq!(lost(end), "the server could not run the agent; no such file");
    }
}
