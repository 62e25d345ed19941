use super::*;
use crate::config::load::tests::{errors, load};

#[test]
fn only_the_exact_word_frontdesk_means_this_binary() {
    let mut persona = Persona::default();
    assert!(persona.runs_this_binary());
    persona.command[0] = "./frontdesk".to_owned();
    assert!(!persona.runs_this_binary());
}

#[test]
fn a_spool_takes_two_of_the_longest_lines() {
    assert_eq!(
        errors("[limits]\nmessage = '33 MiB'", &[]),
        ["frontdesk.toml:2: `limits.spool` is 64 MiB, less than twice `limits.message` with 33 MiB: raise \
          `limits.spool` or lower `limits.message`"]
    );
    assert_eq!(
        errors("[personas.'a.b']\ncommand = ['x']\nline = '32769 KiB'", &[]),
        ["frontdesk.toml:3: `personas.\"a.b\".line` is 32769 KiB, more than half of `limits.spool` with 64 MiB: \
          raise `limits.spool` or lower `personas.\"a.b\".line`"]
    );
    assert!(load("[limits]\nmessage = '32 MiB'\n[personas.A]\ncommand = ['x']\nline = '32 MiB'", &[]).is_ok());
}

#[test]
fn a_directory_of_its_own_and_a_named_one_do_not_go_together() {
    assert_eq!(
        errors("[personas.A]\ncommand = ['x']\nworking_directory = '/x'\nown_directory = true", &[]),
        ["frontdesk.toml:4: `personas.A.own_directory` is on and `personas.A.working_directory` names a directory: \
          leave one of them out"]
    );
}

#[test]
fn a_quota_needs_a_directory_that_it_is_of() {
    assert_eq!(
        errors("[personas.A]\ncommand = ['x']\nown_directory_quota = '1 GiB'", &[]),
        ["frontdesk.toml:3: `personas.A.own_directory_quota` is set and `personas.A.own_directory` is off: turn \
          `personas.A.own_directory` on, or leave the quota out"]
    );
}

#[test]
fn limits_of_agents_are_off_until_they_are_set_and_can_be_set_off() {
    let text = "[personas.A]\ncommand = ['x']\nmemory = '512 MiB'\ncpu_time = '1h'\nopen_files = 1024\n\
                processes = 64\noutput_rate = 1000\nown_directory = true\nown_directory_quota = '2 GiB'\n[personas.B]\ncommand = ['x']\nmemory = 'off'\n\
                cpu_time = 'off'\nopen_files = 'off'\nprocesses = 'off'\noutput_rate = 'off'\nown_directory_quota = 'off'";
    let loaded = load(text, &[("FRONTDESK_PERSONAS__A__PROCESSES", "off")]).unwrap();
    let limits = order::Limits {
        memory: Some(512 << 20),
        cpu_time: Some(Duration::from_hours(1)),
        open_files: Some(1024),
        processes: None,
        output_rate: Some(1000),
        own_directory: Some(2 << 30),
    };
    assert_eq!(loaded.config.personas["A"].limits(), limits);
    assert_eq!(loaded.config.personas["B"].limits(), order::Limits::default());
    assert_eq!(Persona::default().limits(), order::Limits::default());
}

#[test]
fn a_user_is_named_or_numbered() {
    for (written, user) in [("'agents'", "agents"), ("1001", "1001"), ("'1001'", "1001")] {
        let loaded = load(&format!("[personas.A]\ncommand = ['x']\nuser = {written}"), &[]).unwrap();
        assert_eq!(loaded.config.personas["A"].user, Some(RunAs::One(user.into())));
    }
}

#[test]
fn a_range_of_users_is_two_numbers_and_shown_as_it_was_written() {
    let loaded = load("[personas.A]\ncommand = ['x']\nuser = '200000-265535'", &[]).unwrap();
    let user = loaded.config.personas["A"].user.clone().unwrap();
    assert_eq!(user.range(), UidRange::new(200_000, 265_535));
    assert_eq!(user.to_string(), "200000-265535");
    for wrong in ["0-9", "9-8", "1-4294967295", "1-99999999999"] {
        let text = format!("[personas.A]\ncommand = ['x']\nuser = '{wrong}'");
        let expected = format!(
            "`personas.A.user` is {wrong:?}, which is no range of users: write the lower number first, both from 1 to 4294967294"
        );
        assert!(errors(&text, &[]).concat().contains(&expected), "{:?}", errors(&text, &[]));
    }
}
