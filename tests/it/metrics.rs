//! `GET /metrics`: what is counted is what has happened, the text is as Prometheus reads it, labels are bounded, nobody
//! is named, and docs/OPERATING.md has a line for each family.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use frontdesk::principal::Scope;
use serde_json::json;

use crate::desk::{BOB, faulty, persona};
use crate::harness::{ADA, Answer, Server, Setup, repository, until};
use crate::operators::{Operated, problem};

const ECHO: &str = r#"["frontdesk", "agent", "echo"]"#;
const MARY: (&str, &str) = ("mary@example.org", "a lamb as white as snow");

#[test]
fn what_has_happened_is_counted_exactly() {
    let config = faulty(&["on-request"], "") + &persona("BROKEN", r#"["false"]"#, "start_attempts = 1");
    let server = Server::start(Setup::with_config(&config));
    for customer in [ADA, BOB, MARY] {
        server.add_customer(customer);
    }
    let ada = server.create(ADA, json!({}));
    assert_eq!(server.create(ADA, json!({})).status, 400);
    assert_eq!(server.create((BOB.0, "a guess"), json!({})).status, 401);
    assert_eq!(server.create(BOB, json!({})).status, 200);
    assert_eq!(request(&server, "BROKEN", MARY), 200);
    assert_eq!(server.initialise(MARY.0).status, 500);
    assert_eq!(server.initialise(ADA.0).status, 200);
    assert_eq!(server.relay(ADA.0, &ada.token(), &json!({"do": "exit"})).status, 502);
    until("the agent is there again", || server.relay(ADA.0, &ada.token(), &json!("hello")).status == 200);

    let seen = scrape(&server);

    let expected = [
        (r#"frontdesk_sessions{phase="pending"}"#, 1.0),
        (r#"frontdesk_sessions{phase="starting"}"#, 0.0),
        (r#"frontdesk_sessions{phase="running"}"#, 1.0),
        (r#"frontdesk_sessions{phase="stopping"}"#, 0.0),
        ("frontdesk_sessions_restarting", 0.0),
        ("frontdesk_agents", 1.0),
        (r#"frontdesk_admissions_total{outcome="admitted"}"#, 3.0),
        (r#"frontdesk_admissions_total{outcome="session_already_running"}"#, 1.0),
        (r#"frontdesk_admissions_total{outcome="invalid_email_or_password"}"#, 1.0),
        (r#"frontdesk_admissions_total{outcome="not_ready"}"#, 0.0),
        (r#"frontdesk_credential_checks_total{outcome="decided"}"#, 5.0),
        (r#"frontdesk_credential_checks_total{outcome="failed"}"#, 0.0),
        (r#"frontdesk_sessions_ended_total{outcome="failed"}"#, 1.0),
        (r#"frontdesk_sessions_ended_total{outcome="stopped"}"#, 0.0),
        (r#"frontdesk_starts_total{persona="CUSTOMERS"}"#, 1.0),
        (r#"frontdesk_start_failures_total{persona="CUSTOMERS"}"#, 0.0),
        (r#"frontdesk_start_failures_total{persona="BROKEN"}"#, 1.0),
        (r#"frontdesk_sessions_failed_total{persona="BROKEN"}"#, 1.0),
        (r#"frontdesk_restarts_total{persona="CUSTOMERS"}"#, 1.0),
        (r#"frontdesk_restarts_total{persona="other"}"#, 0.0),
        (r#"frontdesk_requests_total{outcome="answered"}"#, 1.0),
        (r#"frontdesk_ready{check="store"}"#, 1.0),
        (r#"frontdesk_ready{check="serving"}"#, 1.0),
        ("frontdesk_queue_length", 0.0),
        ("frontdesk_admission_seconds_count", 3.0),
        ("frontdesk_start_seconds_count", 1.0),
        ("frontdesk_credential_check_seconds_count", 5.0),
        ("frontdesk_recovery_seconds_count", 1.0),
        ("frontdesk_connections_refused_total", 0.0),
    ];
    for (series, value) in expected {
        assert_eq!(seen.values.get(series), Some(&value), "{series}");
    }
    // Whoever asks again at once may meet the same agent at its end.
    assert!(seen.values[r#"frontdesk_requests_total{outcome="agent_lost"}"#] >= 1.0);
    for series in
        ["frontdesk_store_changes_total", "frontdesk_events_total", "process_resident_memory_bytes", "process_open_fds"]
    {
        assert!(seen.values[series] > 0.0, "{series}");
    }
    assert!(seen.values["frontdesk_store_commit_seconds_count"] > 0.0);
}

#[test]
fn nobody_is_named_and_labels_are_those_of_the_configuration() {
    let server = Server::start(Setup::with_config(&persona("CUSTOMERS", ECHO, "")));
    server.add_customer(ADA);
    let ada = server.create(ADA, json!({"secret": "in the data"}));
    assert_eq!(server.initialise(ADA.0).status, 200);
    assert_eq!(request(&server, "NOBODY", ADA), 400);
    let before = scrape(&server);

    assert_eq!(server.create(("somebody@example.org", "a guess"), json!({})).status, 401);
    assert_eq!(server.send("GET", "/nowhere/mary@example.org", &[], b"").status, 404);

    let text = text(&fetch(&server, &[]));
    for secret in [ADA.0, ADA.1, "example.org", "fds_", &ada.session_id(), "NOBODY", "in the data", "/nowhere"] {
        assert!(!text.contains(secret), "{secret} is in the metrics");
    }
    let series = |seen: &Seen| seen.values.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(series(&scrape(&server)), series(&before), "a call has made a series");
}

#[test]
fn a_program_on_the_machine_needs_no_token_and_a_page_a_proxy_and_another_host_do() {
    let desk = Operated::new(Setup::with_config(&persona("CUSTOMERS", ECHO, "")));
    let server = &desk.server;
    assert_eq!(fetch(server, &[]).status, 200);
    for header in [
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1"),
        ("Via", "1.1 proxy"),
        ("X-Real-IP", "127.0.0.1"),
        ("Origin", "http://localhost"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        assert_eq!(problem(&fetch(server, &[header])), (401, "token_required".into()), "{header:?}");
    }
    let bearer = format!("Bearer {}", desk.token(Scope::SessionsRead));
    let forwarded = [("X-Forwarded-For", "192.0.2.1"), ("Authorization", &*bearer)];
    assert_eq!(fetch(server, &forwarded).status, 200);
    let customers = format!("Bearer {}", desk.token(Scope::CustomersWrite));
    assert_eq!(problem(&fetch(server, &[("Authorization", &*customers)])), (403, "scope_required".into()));
    assert_eq!(problem(&fetch(server, &[("Authorization", "Bearer nonsense")])), (401, "token_required".into()));
}

#[test]
fn where_a_proxy_stands_in_front_everybody_needs_a_token() {
    let config = "behind_proxy = true\n".to_owned() + &persona("CUSTOMERS", ECHO, "");
    let desk = Operated::new(Setup::with_config(&config));
    assert_eq!(problem(&fetch(&desk.server, &[])), (401, "token_required".into()));
    let bearer = format!("Bearer {}", desk.token(Scope::SessionsRead));
    assert_eq!(fetch(&desk.server, &[("Authorization", &*bearer)]).status, 200);
}

#[test]
fn every_family_has_its_line_in_the_guide_and_every_line_its_family() {
    let server = Server::start(Setup::with_config(&persona("CUSTOMERS", ECHO, "")));
    let mut served: BTreeSet<_> = scrape(&server).families.into_iter().collect();
    // Only a server with a certificate tells it; `network::tls` reads it there.
    served.insert(("frontdesk_certificate_expiry_seconds".into(), "gauge".into()));
    let guide = fs::read_to_string(repository().join("docs/OPERATING.md")).unwrap();
    let rows = guide.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|line| {
        let mut cells = line.split(" | ");
        let name = cells.next()?.split(['`', '{']).next()?;
        let is_metric = name.starts_with("frontdesk_") || name.starts_with("process_");
        is_metric.then(|| (name.to_owned(), cells.next().unwrap_or_default().to_owned()))
    });
    let named: BTreeSet<_> = rows.collect();
    assert_eq!(named, served);
}

#[test]
fn a_client_that_accepts_open_metrics_gets_it() {
    let server = Server::start(Setup::with_config(&persona("CUSTOMERS", ECHO, "")));
    // What Prometheus sends.
    let accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.2";
    let answer = fetch(&server, &[("Accept", accept)]);
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = text(&answer);
    assert!(text.ends_with("# EOF\n") && text.contains("# TYPE frontdesk_http_answers counter"), "{text}");
}

#[test]
fn calls_are_timed_by_class_and_admissions_have_no_outcome_that_can_t_occur() {
    let server = Server::start(Setup::with_config(&persona("CUSTOMERS", ECHO, "")));
    server.add_customer(ADA);
    let ada = server.create(ADA, json!({}));
    assert_eq!(server.initialise(ADA.0).status, 200);
    assert_eq!(server.relay(ADA.0, &ada.token(), &json!("hello")).status, 200);

    let seen = scrape(&server);

    for (class, count) in [("create", 1.0), ("initialize", 1.0), ("relay", 1.0), ("wait", 0.0)] {
        let series = format!("frontdesk_http_seconds_count{{class=\"{class}\"}}");
        assert_eq!(seen.values.get(&series), Some(&count), "{class}");
    }
    for impossible in ["agent_timeout", "token_not_found", "logs_gone", "method_not_allowed"] {
        let series = format!("frontdesk_admissions_total{{outcome=\"{impossible}\"}}");
        assert!(!seen.values.contains_key(&series), "{series}");
    }
}

#[test]
fn an_answer_says_what_it_was_waiting_for_and_a_refusal_does_not() {
    let server = Server::start(Setup::with_config(&persona("CUSTOMERS", ECHO, "")));
    server.add_customer(ADA);
    let created = server.create(ADA, json!({}));
    assert_eq!(parts(&created), ["credential", "commit"]);
    let initialised = server.initialise(ADA.0);
    assert_eq!((initialised.status, parts(&initialised)), (200, vec!["agent".to_owned()]));
    let relayed = server.relay(ADA.0, &created.token(), &json!("hello"));
    assert_eq!((relayed.status, parts(&relayed)), (200, vec!["agent".to_owned()]));

    for refused in [
        server.create(ADA, json!({})),
        server.create((ADA.0, "a guess"), json!({})),
        server.initialise(ADA.0),
        server.relay(ADA.0, "nonsense", &json!("hello")),
    ] {
        assert!(refused.status >= 400 && parts(&refused).is_empty(), "{refused:?}");
    }
}

/// The names in an answer's `Server-Timing`; each must have a duration.
fn parts(answer: &Answer) -> Vec<String> {
    let parts = answer.header("server-timing").split(", ").filter(|part| !part.is_empty());
    let parts = parts.map(|part| part.split_once(";dur=").unwrap());
    parts.map(|(name, duration)| (name.to_owned(), duration.parse::<f64>().unwrap()).0).collect()
}

fn fetch(server: &Server, headers: &[(&str, &str)]) -> Answer {
    server.send("GET", "/metrics", headers, b"")
}

fn scrape(server: &Server) -> Seen {
    let answer = fetch(server, &[]);
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/plain; version=0.0.4; charset=utf-8"));
    Seen::read(&text(&answer))
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

fn request(server: &Server, persona: &str, (email, password): (&str, &str)) -> u16 {
    let body = json!({"EMAIL": email, "PASSWORD": password, "PERSONA_TYPE": persona, "DATA": {}});
    let headers = [("Content-Type", "application/json")];
    server.send("POST", "/requestSessionCreation", &headers, body.to_string().as_bytes()).status
}

/// What was read out of Prometheus' text format.
struct Seen {
    /// Each family's name and type.
    families: Vec<(String, String)>,
    /// Each series as it is written, with its value.
    values: BTreeMap<String, f64>,
}

impl Seen {
    /// Reads the text as its specification has it, and what it must be beyond that: each family with help and type
    /// before its values, counters named so, buckets that add up.
    fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line has no end");
        let mut seen = Self { families: Vec::new(), values: BTreeMap::new() };
        let mut helped = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').unwrap();
                assert!(is_name(name) && !words.is_empty(), "{line}");
                assert!(seen.families.iter().all(|(family, _)| family != name), "{name} comes twice");
                helped = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, helped, "a type without help");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                seen.families.push((name.to_owned(), kind.to_owned()));
            } else {
                seen.read_value(line);
            }
        }
        seen.check_histograms();
        seen
    }

    fn read_value(&mut self, line: &str) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        let (name, labels) = series.split_once('{').map_or((series, None), |(name, rest)| (name, Some(rest)));
        let (family, kind) = self.families.last().expect("a value without a type");
        let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.iter().any(|suffix| name == format!("{family}{suffix}")), "{line} is not of {family}");
        if let Some(labels) = labels {
            let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("{line}"));
            for label in labels.split(',') {
                let (label, value) = label.split_once('=').unwrap();
                let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
                assert!(is_name(label) && value.is_some_and(|value| !value.contains(['"', '\\'])), "{line}");
            }
        }
        assert_eq!(self.values.insert(series.to_owned(), value), None, "{series} comes twice");
    }

    fn check_histograms(&self) {
        for (family, _) in self.families.iter().filter(|(_, kind)| kind == "histogram") {
            // By the labels that are not the bucket's bound.
            let mut histograms: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
            for (series, count) in &self.values {
                let Some(labels) = series.strip_prefix(&format!("{family}_bucket{{")) else { continue };
                let labels = labels.strip_suffix('}').unwrap().split(',');
                let (bound, others): (Vec<&str>, Vec<&str>) = labels.partition(|label| label.starts_with("le="));
                let bound = bound[0].trim_start_matches("le=\"").trim_end_matches('"').parse::<f64>().unwrap();
                histograms.entry(others.join(",")).or_default().push((bound, *count));
            }
            assert!(!histograms.is_empty(), "{family} has no buckets");
            for (labels, mut buckets) in histograms {
                let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{family}{labels} is not cumulative");
                let (last, all) = *buckets.last().unwrap();
                assert_eq!((last, all), (f64::INFINITY, self.values[&format!("{family}_count{labels}")]), "{family}");
                assert!(self.values[&format!("{family}_sum{labels}")] >= 0.0);
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |character: char| character.is_ascii_alphabetic() || character == '_';
    name.starts_with(is_letter) && name.chars().all(|character| is_letter(character) || character.is_ascii_digit())
}
