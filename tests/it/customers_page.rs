//! The customers' page as a browser gets it: its files, under which names, and without it. `browser.rs` walks through it.

use crate::desk::persona;
use crate::harness::{Answer, Server, Setup};

const FILES: [(&str, &str); 4] = [
    ("/", "text/html; charset=utf-8"),
    ("/page/page.js", "text/javascript; charset=utf-8"),
    ("/page/style.css", "text/css; charset=utf-8"),
    ("/page/icon.svg", "image/svg+xml"),
];

#[test]
fn the_page_takes_nothing_from_elsewhere_and_runs_no_script_but_its_own() {
    let server = Server::start(Setup::default());
    for (path, content_type) in FILES {
        let answer = get(&server, path, &[]);
        assert_eq!((answer.status, answer.header("content-type")), (200, content_type), "{path}");
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        let text = String::from_utf8(answer.body).unwrap();
        assert!(!text.replace("http://www.w3.org/2000/svg", "").contains("http"), "{path} names another server");
    }
}

#[test]
fn the_page_answers_under_the_server_s_own_names_only() {
    let server = Server::start(Setup::with_config("hosts = [\"desk.example.org\"]\n"));
    assert_eq!(get(&server, "/", &[("Host", "desk.example.org")]).status, 200);
    let refused = get(&server, "/", &[("Host", "evil.example")]);
    assert_eq!((refused.status, refused.json()["code"].as_str()), (403, Some("unknown_host")));
}

#[test]
fn a_page_that_is_switched_off_is_not_there_whatever_is_sent() {
    let server = Server::start(Setup::with_config("[page]\nenabled = false\n"));
    let nothing = get(&server, "/nothing", &[]);
    for (path, _) in FILES {
        for method in ["GET", "POST"] {
            let answer = server.send(method, path, &[], b"");
            assert_eq!((answer.status, &answer.body), (404, &nothing.body), "{method} {path}");
        }
    }
}

#[test]
fn the_page_offers_the_personas_unless_they_are_not_to_be_told() {
    let personas = ["SALES", "SUPPORT"].map(|name| persona(name, r#"["frontdesk", "agent", "echo"]"#, "")).concat();
    for (page, is_told) in [("", true), ("[page]\nlist_personas = false\n", false)] {
        let server = Server::start(Setup::with_config(&format!("{page}{personas}")));
        let text = String::from_utf8(get(&server, "/", &[]).body).unwrap();
        assert_eq!(text.contains("SALES") && text.contains("SUPPORT"), is_told, "{text}");
    }
}

fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    server.send("GET", path, headers, b"")
}
