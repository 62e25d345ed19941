//! What an operator can do beside a running server into whose configuration file something wrong was written.

use super::{Desk, alone};
use crate::harness::{ADA, Server, Setup};

const BROKEN: &str = "listn = 5\nplain_http = 'maybe'\ndata_dir = 'frontdesk-data'\n";

#[test]
fn a_server_is_looked_at_drained_and_stopped_by_a_file_that_is_wrong() {
    let mut desk = Desk::start();
    desk.server.add_customer(ADA);
    desk.token();
    let (_, _, errors) = desk.run(&["token", "create", "deploys", "--scope", "admin"], "");
    assert!(errors.starts_with("token deploys: "), "{errors}");
    std::fs::write(desk.server.path("frontdesk.toml"), BROKEN).unwrap();

    for (arguments, said) in [
        (&["status"][..], "ready"),
        (&["session", "list"], ADA.0),
        (&["session", "events", ADA.0], "transition"),
        (&["customer", "list"], ADA.0),
        (&["customer", "throttled"], ""),
        (&["token", "list"], "deploys"),
        (&["token", "revoke", "deploys"], "revoked token deploys"),
        (&["audit"], "token.revoked"),
        (&["session", "stop", ADA.0], "has ended"),
        (&["backup", "desk.tar"], "backed up to desk.tar"),
        (&["drain", "--cancel"], ""),
        (&["stop"], "stopped"),
    ] {
        let (code, output, errors) = desk.run(arguments, "");
        assert!(code == 0 && output.contains(said), "{arguments:?}: {code} {output} {errors}");
        for caution in [
            "note: frontdesk.toml:1: unknown key `listn`; did you mean `listen`?\n",
            "note: frontdesk.toml:2: `plain_http` must be `true` or `false`, not \"maybe\"\n",
            "note: going on with the data directory frontdesk-data and defaults\n",
        ] {
            assert!(errors.contains(caution), "{arguments:?}: {errors}");
        }
    }
    assert!(desk.server.wait().success());
    let (code, output, errors) = desk.run(&["session", "list", "--all"], "");
    assert!(code == 0 && output.contains(ADA.0), "{output} {errors}");
}

#[test]
fn what_starts_or_judges_a_configuration_takes_none_that_is_wrong() {
    let server = Server::start(Setup::default());
    std::fs::write(server.path("frontdesk.toml"), BROKEN).unwrap();
    for arguments in [&["serve"][..], &["config", "check"], &["config", "show"], &["reload"]] {
        let (status, output, errors) = server.run(arguments, "");
        assert_eq!((status.code(), output.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(errors.starts_with("error: frontdesk.toml:1: unknown key `listn`"), "{arguments:?}: {errors}");
    }
}

#[test]
fn no_data_directory_is_guessed_where_a_file_that_was_named_is_not_there() {
    let (code, output, errors) = alone(&["session", "list", "--config", "none.toml"], "");
    assert_eq!((code, output.as_str()), (2, ""));
    assert!(errors.starts_with("error: the configuration file none.toml does not exist"), "{errors}");
}
