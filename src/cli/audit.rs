//! `frontdesk audit`: who did what to which session or customer, from where.

use std::process::ExitCode;

use clap::Args;

use crate::config::Config;
use crate::control::{AuditQuery, AuditRow, Command, Reply};
use crate::id::Printable;

use super::operate::operate;
use super::{Configuration, Failure, Outcome, table};

#[derive(Debug, Args)]
pub(super) struct Audit {
    /// Only what concerns this session.
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only what concerns this customer.
    #[arg(long, value_name = "EMAIL")]
    customer: Option<String>,
    /// Only this action, such as customer.added.
    #[arg(long, value_name = "NAME")]
    action: Option<String>,
    /// At most this many entries, the newest [default: 100; with --json all].
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print JSON, one object a line: the export of the audit, the newest entry first.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

impl Audit {
    pub(super) fn run(self) -> Outcome {
        const IN_A_TABLE: usize = 100;
        let config = self.configuration.place()?;
        if self.json {
            self.pages(&config, self.limit.unwrap_or(usize::MAX), |page| table::print_json(&page).map(drop))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut rows = Vec::new();
        self.pages(&config, self.limit.unwrap_or(IN_A_TABLE), |page| {
            rows.extend(page);
            Ok(())
        })?;
        let heading = ["TIME", "WHO", "ACTION", "SESSION", "CUSTOMER", "FROM", "DETAIL"];
        table::print(&heading, rows.iter().map(cells), "no such entries in the audit")?;
        Ok(ExitCode::SUCCESS)
    }

    /// Hands over up to `most` entries, a page at a time: an audit may be larger than memory.
    fn pages(
        &self,
        config: &Config,
        most: usize,
        mut each: impl FnMut(Vec<AuditRow>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        const A_PAGE: usize = 1_000;
        let (mut left, mut before) = (most, None);
        while left > 0 {
            let (session, customer, action) = (self.session.clone(), self.customer.clone(), self.action.clone());
            let query = AuditQuery { session, customer, action, before: before.take() };
            let wanted = left.min(A_PAGE);
            let Reply::Audit(page) = operate(config, Command::ListAudit { query, most: wanted })? else {
                let other = "the running server gave no audit; use the server's version of this command";
                return Err(Failure::Failed(other.into()));
            };
            left -= page.len();
            before = page.last().map(|row| row.place.clone());
            let is_last = page.len() < wanted;
            each(page)?;
            if is_last {
                break;
            }
        }
        Ok(())
    }
}

fn cells(row: &AuditRow) -> Vec<String> {
    let text = |text: &Option<String>| text.as_deref().map(|text| Printable(text).to_string()).unwrap_or_default();
    let who = row.operator.as_ref().map_or_else(|| row.actor.clone(), |name| format!("operator {}", Printable(name)));
    vec![
        row.at.clone(),
        who,
        row.action.clone(),
        row.session.map(|session| session.to_string()).unwrap_or_default(),
        text(&row.customer),
        text(&row.from),
        table::escaped(&row.detail),
    ]
}
