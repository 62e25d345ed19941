//! What the command line says when something cannot be done: one sentence, and the right exit code.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use super::{Desk, alone, frontdesk, output};
use crate::harness::{ADA, Server, Setup};

#[test]
fn what_a_customer_cannot_have_is_said_in_one_sentence() {
    let desk = Desk::start();
    desk.server.add_customer(ADA);
    let token = desk.token();
    let of_ada = [("FRONTDESK_TOKEN", token.as_str())];
    let request = ["session", "request", ADA.0, "--password-stdin"];
    for (environment, arguments, input, sentence) in [
        (
            &[][..],
            &request[..],
            "wrong",
            "the email or the password is wrong, or ada@example.org may not use this persona; `frontdesk customer \
             passwd ada@example.org` sets a new password",
        ),
        (
            &[],
            &["session", "request", ADA.0, "--password-stdin", "--persona", "SALES"],
            ADA.1,
            "this server has no persona SALES; name one of its personas with --persona",
        ),
        (
            &[],
            &["session", "initialize", "eve@example.org"],
            "",
            "no session of eve@example.org waits to be initialised; ask for one with `frontdesk session request \
             eve@example.org`, unless `frontdesk session status eve@example.org` says RUNNING",
        ),
        (
            &[],
            &["session", "send", ADA.0, "1"],
            "",
            "this needs the token of ada@example.org's session; set FRONTDESK_TOKEN to it, or ask for a fresh one with \
             `frontdesk session request ada@example.org`",
        ),
        (
            &of_ada,
            &["session", "send", "eve@example.org", "1"],
            "",
            "the token is not that of eve@example.org's session, or no longer; ask for a fresh one with `frontdesk \
             session request eve@example.org`, and correct or unset FRONTDESK_TOKEN",
        ),
        (
            &of_ada,
            &["session", "send", ADA.0, "1"],
            "",
            "no session of ada@example.org is running; start the requested one with `frontdesk session initialize \
             ada@example.org`, or ask for one with `frontdesk session request ada@example.org`",
        ),
        (
            &[],
            &["session", "stop", "01234567-89ab-7def-8123-456789abcdef"],
            "",
            "there is no session 01234567-89ab-7def-8123-456789abcdef, and none of a customer \
             01234567-89ab-7def-8123-456789abcdef; `frontdesk session list --all` shows them",
        ),
    ] {
        let said = desk.run_with(environment, arguments, input);
        assert_eq!(said, (1, String::new(), format!("error: {sentence}\n")), "{arguments:?}");
    }
}

#[test]
fn a_token_whose_session_has_ended_says_nothing_of_the_next_one() {
    let desk = Desk::start();
    desk.server.add_customer(ADA);
    let stale = desk.token();
    let (code, said, errors) = desk.run(&["session", "stop", ADA.0], "");
    assert!(code == 0 && said.ends_with(" has ended: stopped\n"), "{said} {errors}");
    let fresh = desk.token();
    for arguments in
        [&["session", "status", ADA.0][..], &["session", "send", ADA.0, "1"], &["session", "initialize", ADA.0]]
    {
        let said = desk.run_with(&[("FRONTDESK_TOKEN", &stale)], arguments, "");
        let sentence = "error: the token is of a session of ada@example.org that has ended; unset FRONTDESK_TOKEN, or set \
                        it to the token of the new one (`frontdesk session request ada@example.org` prints one)\n";
        assert_eq!(said, (1, String::new(), sentence.to_owned()), "{arguments:?}");
    }
    let status = desk.run_with(&[("FRONTDESK_TOKEN", &fresh)], &["session", "status", ADA.0], "");
    assert_eq!(status, (0, "PENDING\n".to_owned(), String::new()));
}

#[test]
fn what_is_typed_wrongly_exits_with_two_and_what_is_missing_with_one() {
    let nobody = "http://127.0.0.1:9";
    for (arguments, code, sentence) in [
        (
            &["session", "status", "a@b.example", "--server", nobody][..],
            1,
            "no Frontdesk answers at http://127.0.0.1:9; start one with `frontdesk serve`, or name another with \
             --server",
        ),
        (
            &["session", "list"],
            1,
            "there is no data directory ./frontdesk-data; name the right one with --data-dir, or start `frontdesk \
             serve` once",
        ),
        (
            &["session", "stop"],
            2,
            "name the session by its id (`frontdesk session list` shows them) or its customer's email, or set \
             FRONTDESK_TOKEN to its token",
        ),
        (
            &["session", "request", "a@b.example"],
            2,
            "there is no terminal to ask for the password; use --password-stdin",
        ),
        (
            &["session", "request", "a@b.example", "--data", "[]", "--password-stdin"],
            2,
            r#"--data must be a JSON object such as {"theme": "dark"}"#,
        ),
        (
            &["config", "check", "--config", "none.toml"],
            2,
            "the configuration file none.toml does not exist: correct the path given by --config or FRONTDESK_CONFIG, \
             or leave it out to run with the defaults",
        ),
    ] {
        assert_eq!(alone(arguments, ""), (code, String::new(), format!("error: {sentence}\n")), "{arguments:?}");
    }
    let (code, _, errors) = alone(&["session", "status", "a@b.example", "--server", "localhost:5500"], "");
    assert_eq!(code, 2);
    assert!(errors.contains("write it as a URL such as http://127.0.0.1:5500"), "{errors}");
}

#[test]
fn a_server_that_cannot_start_says_why_once_and_what_helps() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("file"), "").unwrap();
    std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).create(path("damaged")).unwrap();
    std::fs::write(path("damaged/frontdesk.db"), "this is no database at all").unwrap();
    std::fs::write(path("mapping.json"), "[").unwrap();
    std::fs::write(path("user.toml"), "[personas.SALES]\ncommand = ['sell']\nuser = 'no such user'").unwrap();
    for (arguments, code, begins, ends) in [
        (
            ["--data-dir", "file"],
            1,
            "error: cannot use file as the data directory: ",
            "; check that it is a writable directory on a local disk\n",
        ),
        (
            ["--data-dir", "damaged"],
            1,
            "error: cannot open the store in ",
            "; restore the data directory from a backup with `frontdesk restore`\n",
        ),
        (
            ["--service-mapping", "mapping.json"],
            2,
            "error: mapping.json is no service mapping: ",
            "; correct that file, or name another with --service-mapping\n",
        ),
        (
            ["--service-mapping", "none.json"],
            2,
            "error: none.json can't be read: ",
            "; correct that file, or name another with --service-mapping\n",
        ),
        (
            ["--config", "user.toml"],
            1,
            "error: the `user` of persona SALES is \"no such user\", and /etc/passwd has no such user",
            ": add it there, or correct the key\n",
        ),
    ] {
        let mut serve = frontdesk();
        serve.current_dir(directory.path()).args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
        let (exit, _, errors) = output(&mut serve, "");
        assert_eq!(exit, code, "{errors}");
        assert!(errors.starts_with(begins) && errors.ends_with(ends), "{errors}");
        assert_eq!(errors.matches("(os error").count().max(1), 1, "{errors}");
    }
}

#[test]
fn a_data_directory_that_this_user_may_not_read_is_not_said_to_be_missing() {
    const USER: u32 = 3_200_000_001;
    assert!(rustix::process::geteuid().is_root(), "only root can run a command as another user");
    let server = Server::start(Setup::default());
    let (data_dir, backup) = (server.data_dir().display().to_string(), server.path("backup").display().to_string());
    for command in [&["session", "list"][..], &["customer", "list"], &["status"], &["verify"], &["backup", &backup]] {
        let mut asked = frontdesk();
        // The test's own directory is closed to this user as well.
        asked.args(command).args(["--data-dir", &data_dir]).uid(USER).gid(USER).current_dir("/");
        let (code, _, errors) = output(&mut asked, "");
        let sentence =
            format!("error: this user may not read {data_dir}; run this as the user that the server runs as");
        assert!(code == 1 && errors.starts_with(&sentence), "{command:?}: {code} {errors}");
    }
}

#[test]
fn an_agent_that_does_not_start_is_explained_to_the_operator() {
    let server =
        Server::start(Setup::with_config("[personas.CUSTOMERS]\ncommand = ['sh', '-c', 'echo no luck >&2; exit 3']"));
    let desk = Desk { url: format!("http://{}", server.address), server };
    desk.server.add_customer(ADA);
    desk.token();
    let (code, _, errors) = desk.run(&["session", "initialize", ADA.0], "");
    let said = "error: the agent could not be started; on the server's machine, `frontdesk session show ada@example.org` says why\n";
    assert_eq!((code, errors.as_str()), (1, said));
    let (_, listed, _) = desk.run(&["session", "list", "--all"], "");
    assert!(listed.contains("PENDING") && listed.contains("no luck"), "{listed}");
}

#[test]
fn another_server_is_not_mistaken_for_a_frontdesk() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4_096]);
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno";
        std::io::Write::write_all(&mut stream, answer).unwrap();
    });
    let (code, _, errors) = alone(&["session", "status", "a@b.example", "--server", &url], "");
    answering.join().unwrap();
    let said = format!(
        "error: the server at {url} is not Frontdesk (it answered 404 Not Found); name the right address with --server\n"
    );
    assert_eq!((code, errors), (1, said));
}

#[test]
fn a_reader_that_has_seen_enough_and_a_full_disk_are_no_panic() {
    let mut child =
        frontdesk().args(["config", "example"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));

    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ended = frontdesk().args(["config", "example"]).stdout(full).output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(said.starts_with("error: the output could not be written: "), "{said}");
}
