//! The tables say what each phase answers to each event; the properties say what no sequence of events can break.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_000_000_000);
const SECOND: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    pending_timeout: Duration::from_secs(300),
    start_timeout: Duration::from_secs(30),
    start_attempts: 3,
    idle_timeout: Some(Duration::from_secs(60)),
    max_lifetime: Some(Duration::from_secs(3_600)),
    stop_grace: Duration::from_secs(10),
};

mod pending {
    use super::*;

    #[test]
    fn initialise_starts_the_next_epoch_at_once() {
        let step = at_now(&pending(4), &Event::Initialise);
        let deadline = NOW + LIMITS.start_timeout;
        assert_eq!(
            step.phase,
            Phase::Starting {
                epoch: Epoch(5),
                not_before: NOW,
                deadline,
                start: Start::First { failed_starts: 1, last_failure: None }
            }
        );
        assert_eq!(step.effects, [Effect::StartAgent { epoch: Epoch(5), not_before: NOW, deadline }]);
    }

    #[test]
    fn a_start_after_one_that_failed_says_why_that_was() {
        let mut phase = pending(4);
        let Phase::Pending { last_failure, .. } = &mut phase else { unreachable!() };
        *last_failure = Some(Box::new(Reason::new("crashed")));
        assert_eq!(at_now(&phase, &Event::Initialise).phase.why().map(Reason::sentence), Some("crashed"));
    }

    #[test]
    fn a_stop_ends_it_without_any_agent_to_stop() {
        for force in [false, true] {
            let step = at_now(&pending(0), &stop_event(force));
            assert_eq!(step, Step { phase: ended(0, Outcome::Stopped, "asked"), effects: vec![] });
        }
    }

    #[test]
    fn it_expires_at_its_deadline_and_says_how_long_it_waited() {
        let step = step(&pending(0), &tick(), &LIMITS, NOW + SECOND).unwrap();
        assert_eq!(step.phase, ended(0, Outcome::Expired, "no initialise within 5m"));
    }

    #[test]
    fn a_restarted_server_finds_it_waiting_on() {
        unchanged(&pending(2), &Event::Recovered);
    }

    #[test]
    fn no_agent_can_report_to_it_not_even_the_last_one() {
        for event in agent_events(2) {
            refused(&pending(2), &event, Rejection::DoesNotApply);
        }
    }
}

mod starting {
    use super::*;

    #[test]
    fn a_ready_agent_makes_it_run_from_now_on() {
        let step = at_now(&starting(1), &Event::AgentReady { epoch: Epoch(1) });
        assert_eq!(step, Step { phase: running(1), effects: vec![] });
    }

    #[test]
    fn a_ready_agent_after_a_restart_keeps_the_first_start_and_the_losses() {
        let (first_ready, failures) = (NOW - SECOND, one_failure());
        let restarting = restarting(2, first_ready, failures.clone());
        let step = at_now(&restarting, &Event::AgentReady { epoch: Epoch(2) });
        assert_eq!(step.phase, Phase::Running { epoch: Epoch(2), since: NOW, first_ready, failures });
    }

    #[test]
    fn a_failed_first_start_goes_back_to_waiting_with_a_new_deadline_and_the_reason() {
        let step = at_now(&starting(1), &lost_event(1));
        assert_eq!(
            step.phase,
            Phase::Pending {
                deadline: NOW + LIMITS.pending_timeout,
                epoch: Epoch(1),
                failed_starts: 1,
                last_failure: Some(Box::new(Reason::new("crashed"))),
            }
        );
        assert_eq!(step.effects, []);
    }

    #[test]
    fn the_last_attempt_that_fails_ends_it_with_the_last_reason() {
        let mut phase = starting(3);
        let Phase::Starting { start, .. } = &mut phase else { unreachable!() };
        *start = Start::First { failed_starts: 2, last_failure: None };
        let step = at_now(&phase, &lost_event(3));
        assert_eq!(step.phase, ended(3, Outcome::Failed, "gave up after 3 failed starts: crashed"));
    }

    #[test]
    fn a_failed_restart_waits_and_tries_again_under_the_next_epoch() {
        let step = at_now(&restarting(2, NOW - SECOND, one_failure()), &lost_event(2));
        let not_before = NOW + Duration::from_millis(400);
        assert_eq!(
            step.effects,
            [Effect::StartAgent { epoch: Epoch(3), not_before, deadline: not_before + LIMITS.start_timeout }]
        );
    }

    #[test]
    fn a_stop_is_followed_by_ending_the_agent() {
        for (force, deadline) in [(false, NOW + LIMITS.stop_grace), (true, NOW)] {
            let step = at_now(&starting(1), &stop_event(force));
            assert_eq!(step.phase, stopping(1, deadline));
            assert_eq!(step.effects, [Effect::StopAgent { epoch: Epoch(1), deadline }]);
        }
    }

    #[test]
    fn an_agent_that_finished_before_it_was_ready_ends_it_as_it_said() {
        assert_eq!(at_now(&starting(1), &finished_event(1)).phase, ended(1, Outcome::Completed, "done"));
    }

    #[test]
    fn a_restarted_server_starts_again_under_the_next_epoch_since_this_one_may_be_used_up() {
        let step = at_now(&starting(1), &Event::Recovered);
        let deadline = NOW + LIMITS.start_timeout;
        assert_eq!(step.effects, [Effect::StartAgent { epoch: Epoch(2), not_before: NOW, deadline }]);
    }

    #[test]
    fn a_restarted_server_does_not_cut_the_wait_of_a_restart_short() {
        let not_before = NOW + SECOND;
        let phase = Phase::Starting {
            epoch: Epoch(2),
            not_before,
            deadline: not_before + LIMITS.start_timeout,
            start: Start::Restart { first_ready: NOW, failures: one_failure(), reason: None },
        };
        let step = at_now(&phase, &Event::Recovered);
        let deadline = not_before + LIMITS.start_timeout;
        assert_eq!(step.effects, [Effect::StartAgent { epoch: Epoch(3), not_before, deadline }]);
    }

    #[test]
    fn its_start_deadline_is_held_by_who_starts_the_agent() {
        unchanged(&starting(1), &tick());
        assert_eq!(starting(1).next_tick(NOW, &LIMITS), None);
    }

    #[test]
    fn initialise_and_the_end_of_an_agent_that_was_not_told_to_end_are_refused() {
        refused(&starting(1), &Event::Initialise, Rejection::NotPending);
        refused(&starting(1), &Event::AgentGone { epoch: Epoch(1) }, Rejection::DoesNotApply);
    }

    #[test]
    fn agents_of_another_epoch_are_refused() {
        for event in agent_events(1).into_iter().chain(agent_events(3)) {
            refused(&starting(2), &event, Rejection::OtherEpoch);
        }
    }
}

mod replacing {
    use super::*;

    #[test]
    fn a_running_agent_gets_its_grace_and_stays_the_session_s_until_it_is_gone() {
        let running = Phase::Running { epoch: Epoch(1), since: NOW, first_ready: NOW, failures: one_failure() };
        let step = at_now(&running, &restart_event(None));
        assert_eq!(step.phase, replacing(1, NOW + LIMITS.stop_grace));
        assert_eq!(step.effects, [Effect::StopAgent { epoch: Epoch(1), deadline: NOW + LIMITS.stop_grace }]);
    }

    #[test]
    fn however_the_agent_went_the_next_epoch_starts_at_once_and_nothing_is_counted() {
        let deadline = NOW + LIMITS.start_timeout;
        for event in [Event::AgentGone { epoch: Epoch(1) }, lost_event(1), Event::Recovered] {
            let step = at_now(&replacing(1, NOW + SECOND), &event);
            let start = Start::Restart {
                first_ready: NOW,
                failures: one_failure(),
                reason: Some(Box::new(Reason::new("for the upgrade"))),
            };
            assert_eq!(step.phase, Phase::Starting { epoch: Epoch(2), not_before: NOW, deadline, start }, "{event:?}");
            assert_eq!(step.effects, [Effect::StartAgent { epoch: Epoch(2), not_before: NOW, deadline }]);
            let ready = at_now(&step.phase, &Event::AgentReady { epoch: Epoch(2) }).phase;
            let running = Phase::Running { epoch: Epoch(2), since: NOW, first_ready: NOW, failures: one_failure() };
            assert_eq!(ready, running);
        }
    }

    #[test]
    fn the_reason_is_told_until_the_next_agent_is_ready() {
        let ending = at_now(&running(1), &restart_event(None)).phase;
        let starting = at_now(&ending, &Event::AgentGone { epoch: Epoch(1) }).phase;
        let ready = at_now(&starting, &Event::AgentReady { epoch: Epoch(2) }).phase;
        let told: Vec<_> = [ending, starting, ready].iter().map(|phase| phase.why().cloned()).collect();
        let reason = Some(Reason::new("for the upgrade"));
        assert_eq!(told, [reason.clone(), reason, None]);
    }

    #[test]
    fn a_restart_that_waits_out_its_backoff_is_given_up_for_one_that_does_not() {
        let mut waiting = restarting(2, NOW, one_failure());
        let Phase::Starting { not_before, .. } = &mut waiting else { unreachable!() };
        *not_before = NOW + SECOND;
        let step = at_now(&waiting, &restart_event(Some(2)));
        assert_eq!(step.phase, replacing(2, NOW));
        assert_eq!(step.effects, [Effect::StopAgent { epoch: Epoch(2), deadline: NOW }]);
        let next = at_now(&step.phase, &Event::AgentGone { epoch: Epoch(2) });
        let deadline = NOW + LIMITS.start_timeout;
        assert_eq!(next.effects, [Effect::StartAgent { epoch: Epoch(3), not_before: NOW, deadline }]);
    }

    #[test]
    fn what_is_starting_anyway_is_left_to_start() {
        for phase in [starting(1), restarting(1, NOW, one_failure()), replacing(1, NOW + SECOND)] {
            unchanged(&phase, &restart_event(None));
            unchanged(&phase, &restart_event(Some(1)));
        }
    }

    #[test]
    fn a_call_that_names_an_epoch_replaces_that_agent_only_so_that_it_can_be_repeated() {
        for phase in [starting(2), restarting(2, NOW, one_failure()), running(2), replacing(2, NOW + SECOND)] {
            unchanged(&phase, &restart_event(Some(1)));
            refused(&phase, &restart_event(Some(3)), Rejection::OtherEpoch);
        }
        assert_ne!(at_now(&running(2), &restart_event(Some(2))).phase, running(2));
    }

    #[test]
    fn without_an_agent_or_with_one_that_ends_for_good_it_is_refused() {
        for phase in [pending(1), stopping(1, NOW), ended(1, Outcome::Stopped, "asked")] {
            refused(&phase, &restart_event(None), Rejection::NotRunning);
            refused(&phase, &restart_event(Some(1)), Rejection::NotRunning);
        }
    }

    #[test]
    fn a_stop_ends_the_session_and_gives_the_agent_no_more_time_than_it_had() {
        let kill_at = NOW + SECOND;
        for (force, deadline) in [(false, kill_at), (true, NOW)] {
            let step = at_now(&replacing(1, kill_at), &stop_event(force));
            assert_eq!(step.phase, stopping(1, deadline));
            assert_eq!(step.effects, [Effect::StopAgent { epoch: Epoch(1), deadline }]);
        }
    }

    #[test]
    fn an_agent_that_finished_before_it_heard_of_it_ends_the_session_as_it_said() {
        assert_eq!(at_now(&replacing(1, NOW + SECOND), &finished_event(1)).phase, ended(1, Outcome::Completed, "done"));
    }

    #[test]
    fn a_restarted_server_that_finds_the_agent_alive_orders_its_end_again() {
        let phase = replacing(1, NOW + SECOND);
        let effects = vec![Effect::StopAgent { epoch: Epoch(1), deadline: NOW + SECOND }];
        assert_eq!(at_now(&phase, &Event::Adopted), Step { phase, effects });
    }

    #[test]
    fn a_tick_and_a_late_ready_change_nothing_and_initialise_and_other_epochs_are_refused() {
        for event in [tick(), Event::AgentReady { epoch: Epoch(2) }] {
            unchanged(&replacing(2, NOW), &event);
        }
        refused(&replacing(2, NOW), &Event::Initialise, Rejection::NotPending);
        for event in agent_events(1).into_iter().chain(agent_events(3)) {
            refused(&replacing(2, NOW), &event, Rejection::OtherEpoch);
        }
    }
}

mod running {
    use super::*;

    #[test]
    fn a_lost_agent_is_followed_by_the_next_epoch_after_a_wait() {
        let step = at_now(&running(1), &lost_event(1));
        let not_before = NOW + Duration::from_millis(200);
        assert_eq!(
            step.effects,
            [Effect::StartAgent { epoch: Epoch(2), not_before, deadline: not_before + LIMITS.start_timeout }]
        );
        assert!(matches!(
            step.phase,
            Phase::Starting { epoch: Epoch(2), start: Start::Restart { first_ready: NOW, .. }, .. }
        ));
    }

    #[test]
    fn the_eleventh_loss_within_ten_minutes_ends_it() {
        let mut phase = running(1);
        for loss in 0..10 {
            let epoch = phase.epoch();
            phase = at_now(&phase, &lost_event(epoch.0)).phase;
            phase = at_now(&phase, &Event::AgentReady { epoch: phase.epoch() }).phase;
            assert_eq!(phase.name(), "RUNNING", "{loss}");
        }
        let last = at_now(&phase, &lost_event(11));
        assert_eq!(
            last.phase,
            ended(11, Outcome::Failed, "the agent was lost 11 times within 10 minutes; last: crashed")
        );
    }

    #[test]
    fn an_agent_that_finished_ends_it_as_the_agent_said() {
        assert_eq!(at_now(&running(1), &finished_event(1)).phase, ended(1, Outcome::Completed, "done"));
    }

    #[test]
    fn a_stop_ends_the_agent_politely_or_at_once() {
        for (force, deadline) in [(false, NOW + LIMITS.stop_grace), (true, NOW)] {
            let step = at_now(&running(1), &stop_event(force));
            assert_eq!(step.phase, stopping(1, deadline));
            assert_eq!(step.effects, [Effect::StopAgent { epoch: Epoch(1), deadline }]);
        }
    }

    #[test]
    fn idleness_counts_from_the_last_activity_and_from_ready_at_the_earliest() {
        for (last_activity, expires) in [(NOW - SECOND, NOW + 60 * SECOND), (NOW + SECOND, NOW + 61 * SECOND)] {
            assert_eq!(running(1).next_tick(last_activity, &LIMITS), Some(expires));
            let step = step(&running(1), &Event::Tick { last_activity }, &LIMITS, expires).unwrap();
            let ending = Ending::new(Outcome::Expired, Reason::new("no request for 1m"));
            assert_eq!(step.phase.ending(), Some(&ending));
        }
    }

    #[test]
    fn the_lifetime_counts_from_the_first_agent_and_no_activity_prolongs_it() {
        let phase = Phase::Running {
            epoch: Epoch(2),
            since: NOW,
            first_ready: NOW - 3_599 * SECOND,
            failures: Failures::default(),
        };
        let expires = NOW + SECOND;
        assert_eq!(phase.next_tick(NOW, &LIMITS), Some(expires));
        let step = step(&phase, &tick(), &LIMITS, expires).unwrap();
        let ending = Ending::new(Outcome::Expired, Reason::new("ran for its whole lifetime of 1h"));
        assert_eq!(step.phase.ending(), Some(&ending));
    }

    #[test]
    fn without_limits_it_never_expires() {
        let limits = Limits { idle_timeout: None, max_lifetime: None, ..LIMITS };
        assert_eq!(running(1).next_tick(NOW, &limits), None);
        let much_later = NOW + 1_000_000 * SECOND;
        assert_eq!(step(&running(1), &tick(), &limits, much_later).unwrap(), stay(&running(1)));
    }

    #[test]
    fn a_restarted_server_starts_it_again_at_once_and_counts_no_loss() {
        let step = at_now(&running(1), &Event::Recovered);
        let deadline = NOW + LIMITS.start_timeout;
        let start = Start::Restart { first_ready: NOW, failures: Failures::default(), reason: None };
        assert_eq!(step.phase, Phase::Starting { epoch: Epoch(2), not_before: NOW, deadline, start });
        assert_eq!(step.effects, [Effect::StartAgent { epoch: Epoch(2), not_before: NOW, deadline }]);
    }

    #[test]
    fn a_restarted_server_that_finds_the_agent_alive_changes_nothing() {
        unchanged(&running(1), &Event::Adopted);
        unchanged(&starting(1), &Event::Adopted);
        unchanged(&pending(1), &Event::Adopted);
    }

    #[test]
    fn being_told_ready_again_changes_nothing() {
        unchanged(&running(1), &Event::AgentReady { epoch: Epoch(1) });
    }

    #[test]
    fn initialise_and_other_epochs_are_refused() {
        refused(&running(2), &Event::Initialise, Rejection::NotPending);
        refused(&running(2), &Event::AgentGone { epoch: Epoch(2) }, Rejection::DoesNotApply);
        for event in agent_events(1).into_iter().chain(agent_events(3)) {
            refused(&running(2), &event, Rejection::OtherEpoch);
        }
    }
}

mod stopping {
    use super::*;

    #[test]
    fn whatever_way_its_agent_goes_it_ends_as_was_decided_before() {
        for event in [Event::AgentGone { epoch: Epoch(1) }, lost_event(1), finished_event(1), Event::Recovered] {
            let step = at_now(&stopping(1, NOW + SECOND), &event);
            assert_eq!(step, Step { phase: ended(1, Outcome::Stopped, "asked"), effects: vec![] }, "{event:?}");
        }
    }

    #[test]
    fn a_forced_stop_moves_the_kill_to_now_and_never_to_later() {
        for (deadline, kill) in [(NOW + SECOND, NOW), (NOW - SECOND, NOW - SECOND)] {
            let step = at_now(&stopping(1, deadline), &stop_event(true));
            assert_eq!(step.phase, stopping(1, kill));
            assert_eq!(step.effects, [Effect::StopAgent { epoch: Epoch(1), deadline: kill }]);
        }
    }

    #[test]
    fn a_restarted_server_that_finds_the_agent_alive_orders_its_end_again() {
        let phase = stopping(1, NOW + SECOND);
        let effects = vec![Effect::StopAgent { epoch: Epoch(1), deadline: NOW + SECOND }];
        assert_eq!(at_now(&phase, &Event::Adopted), Step { phase, effects });
    }

    #[test]
    fn a_polite_stop_a_tick_and_a_late_ready_change_nothing() {
        for event in [stop_event(false), tick(), Event::AgentReady { epoch: Epoch(1) }] {
            unchanged(&stopping(1, NOW), &event);
        }
    }

    #[test]
    fn initialise_and_other_epochs_are_refused() {
        refused(&stopping(2, NOW), &Event::Initialise, Rejection::NotPending);
        for event in agent_events(1).into_iter().chain(agent_events(3)) {
            refused(&stopping(2, NOW), &event, Rejection::OtherEpoch);
        }
    }
}

mod ended {
    use super::*;

    #[test]
    fn stops_ticks_and_restarts_of_the_server_leave_it_as_it_is() {
        for event in [stop_event(false), stop_event(true), tick(), Event::Recovered] {
            unchanged(&ended(1, Outcome::Stopped, "asked"), &event);
        }
    }

    #[test]
    fn initialise_and_agents_are_refused() {
        let phase = ended(1, Outcome::Stopped, "asked");
        refused(&phase, &Event::Initialise, Rejection::NotPending);
        for event in agent_events(1) {
            refused(&phase, &event, Rejection::Ended);
        }
    }
}

mod stored_form {
    use super::*;

    /// What lies in stores out there. A line that has to change here needs a new schema version instead.
    #[test]
    fn every_phase_is_stored_as_exactly_this_text() {
        for (phase, text) in stored_forms() {
            assert_eq!(serde_json::to_string(&phase).unwrap(), text);
            assert_eq!(serde_json::from_str::<Phase>(text).unwrap(), phase);
        }
    }

    #[test]
    fn a_reader_ignores_fields_that_it_does_not_know() {
        for (phase, text) in stored_forms() {
            let mut later = text.to_owned();
            for known in ["epoch", "outcome", "streak", "failed_starts", "first_ready"] {
                later = later.replace(&format!("\"{known}\":"), &format!("\"new_{known}\":{{\"a\":[1]}},\"{known}\":"));
            }
            assert_eq!(serde_json::from_str::<Phase>(&later).unwrap(), phase, "{later}");
        }
    }

    #[test]
    fn a_reason_is_cut_at_a_character_so_that_no_agent_fills_the_store() {
        let reason = Reason::new("é".repeat(5_000));
        assert_eq!(reason.sentence(), format!("{}…", "é".repeat(1_000)));
    }

    fn stored_forms() -> Vec<(Phase, &'static str)> {
        let at = Timestamp::from_micros;
        let failures = || serde_json::from_str::<Failures>(r#"{"recent":[4],"streak":1}"#).unwrap();
        vec![
            (Phase::admitted(at(9)), r#"{"PENDING":{"deadline":9,"epoch":0}}"#),
            (
                Phase::Pending {
                    deadline: at(9),
                    epoch: Epoch(2),
                    failed_starts: 2,
                    last_failure: Some(Box::new(Reason::new("crashed"))),
                },
                r#"{"PENDING":{"deadline":9,"epoch":2,"failed_starts":2,"last_failure":"crashed"}}"#,
            ),
            (
                Phase::Starting {
                    epoch: Epoch(1),
                    not_before: at(5),
                    deadline: at(9),
                    start: Start::First { failed_starts: 0, last_failure: None },
                },
                r#"{"STARTING":{"epoch":1,"not_before":5,"deadline":9,"start":{"FIRST":{"failed_starts":0}}}}"#,
            ),
            (
                Phase::Starting {
                    epoch: Epoch(2),
                    not_before: at(5),
                    deadline: at(9),
                    start: Start::Restart { first_ready: at(3), failures: failures(), reason: None },
                },
                r#"{"STARTING":{"epoch":2,"not_before":5,"deadline":9,"start":{"RESTART":{"first_ready":3,"failures":{"recent":[4],"streak":1}}}}}"#,
            ),
            (
                Phase::Starting {
                    epoch: Epoch(2),
                    not_before: at(5),
                    deadline: at(9),
                    start: Start::Restart {
                        first_ready: at(3),
                        failures: failures(),
                        reason: Some(Box::new(Reason::new("asked"))),
                    },
                },
                r#"{"STARTING":{"epoch":2,"not_before":5,"deadline":9,"start":{"RESTART":{"first_ready":3,"failures":{"recent":[4],"streak":1},"reason":"asked"}}}}"#,
            ),
            (
                Phase::Starting {
                    epoch: Epoch(2),
                    not_before: at(5),
                    deadline: at(9),
                    start: Start::Replacement {
                        first_ready: at(3),
                        failures: failures(),
                        reason: Box::new(Reason::new("asked")),
                    },
                },
                r#"{"STARTING":{"epoch":2,"not_before":5,"deadline":9,"start":{"REPLACEMENT":{"first_ready":3,"failures":{"recent":[4],"streak":1},"reason":"asked"}}}}"#,
            ),
            (
                Phase::Running { epoch: Epoch(1), since: at(5), first_ready: at(3), failures: Failures::default() },
                r#"{"RUNNING":{"epoch":1,"since":5,"first_ready":3}}"#,
            ),
            (
                Phase::Running { epoch: Epoch(2), since: at(5), first_ready: at(3), failures: failures() },
                r#"{"RUNNING":{"epoch":2,"since":5,"first_ready":3,"failures":{"recent":[4],"streak":1}}}"#,
            ),
            (
                Phase::Stopping {
                    epoch: Epoch(1),
                    deadline: at(9),
                    ending: Ending::new(Outcome::Expired, Reason::new("late")),
                },
                r#"{"STOPPING":{"epoch":1,"deadline":9,"ending":{"outcome":"expired","reason":"late"}}}"#,
            ),
            (
                ended(1, Outcome::Completed, "done"),
                r#"{"ENDED":{"epoch":1,"ending":{"outcome":"completed","reason":"done"}}}"#,
            ),
            (ended(1, Outcome::Failed, "no"), r#"{"ENDED":{"epoch":1,"ending":{"outcome":"failed","reason":"no"}}}"#),
        ]
    }
}

proptest! {
    #[test]
    fn the_epoch_rises_by_one_with_each_agent_and_never_otherwise(walk in walks()) {
        for (before, step, _) in taken(&walk) {
            let starts = step.effects.iter().filter(|effect| matches!(effect, Effect::StartAgent { .. })).count();
            prop_assert_eq!(step.phase.epoch().0, before.epoch().0 + u32::try_from(starts).unwrap());
        }
    }

    #[test]
    fn an_effect_is_always_what_the_new_phase_stores(walk in walks()) {
        for (_, step, _) in taken(&walk) {
            for effect in &step.effects {
                let stored = match &step.phase {
                    Phase::Starting { epoch, not_before, start: Start::Replacement { .. }, .. } => {
                        Effect::StopAgent { epoch: *epoch, deadline: *not_before }
                    }
                    Phase::Starting { epoch, not_before, deadline, .. } => {
                        Effect::StartAgent { epoch: *epoch, not_before: *not_before, deadline: *deadline }
                    }
                    Phase::Stopping { epoch, deadline, .. } => {
                        Effect::StopAgent { epoch: *epoch, deadline: *deadline }
                    }
                    phase @ (Phase::Pending { .. } | Phase::Running { .. } | Phase::Ended { .. }) => {
                        return Err(TestCaseError::fail(format!("{effect:?} in {phase:?}")));
                    }
                };
                prop_assert_eq!(effect, &stored);
            }
        }
    }

    #[test]
    fn every_live_phase_ends_by_a_stop_and_the_end_of_its_agent(walk in walks(), force: bool) {
        for (_, step, now) in taken(&walk) {
            let mut phase = super::step(&step.phase, &stop_event(force), &walk.limits, now).unwrap().phase;
            if let Phase::Stopping { epoch, .. } = phase {
                phase = super::step(&phase, &Event::AgentGone { epoch }, &walk.limits, now).unwrap().phase;
            }
            prop_assert!(!phase.is_live(), "{:?}", phase);
        }
    }

    #[test]
    fn a_repeated_stop_is_no_error_and_keeps_the_ending(walk in walks(), first: bool, second: bool) {
        for (_, step, now) in taken(&walk) {
            let once = super::step(&step.phase, &stop_event(first), &walk.limits, now).unwrap().phase;
            let twice = super::step(&once, &stop_event(second), &walk.limits, now + SECOND).unwrap().phase;
            prop_assert_eq!(once.ending(), twice.ending());
        }
    }

    #[test]
    fn a_restart_counts_no_loss_and_keeps_since_when_the_session_runs(walk in walks()) {
        for (_, step, now) in taken(&walk) {
            let Phase::Running { epoch, first_ready, failures, .. } = &step.phase else { continue };
            let ending = super::step(&step.phase, &restart_event(None), &walk.limits, now).unwrap().phase;
            let starting = super::step(&ending, &Event::AgentGone { epoch: *epoch }, &walk.limits, now).unwrap().phase;
            let ready = Event::AgentReady { epoch: epoch.next() };
            let running = super::step(&starting, &ready, &walk.limits, now).unwrap().phase;
            let expected = Phase::Running {
                epoch: epoch.next(),
                since: now,
                first_ready: *first_ready,
                failures: failures.clone(),
            };
            prop_assert_eq!(running, expected);
        }
    }

    #[test]
    fn a_repeated_restart_of_one_epoch_comes_to_one_new_agent(walk in walks()) {
        for (_, step, now) in taken(&walk) {
            let event = restart_event(Some(step.phase.epoch().0));
            let Ok(once) = super::step(&step.phase, &event, &walk.limits, now) else { continue };
            let mut phase = once.phase;
            for _ in 0..3 {
                let again = super::step(&phase, &event, &walk.limits, now).unwrap();
                prop_assert_eq!((&again.phase, again.effects), (&phase, vec![]));
                let gone = Event::AgentGone { epoch: phase.epoch() };
                if let Ok(next) = super::step(&phase, &gone, &walk.limits, now) {
                    phase = next.phase;
                }
            }
        }
    }

    #[test]
    fn an_ended_session_stays_exactly_as_it_ended(walk in walks()) {
        for (before, step, _) in taken(&walk) {
            if !before.is_live() {
                prop_assert_eq!(before, step.phase);
                prop_assert_eq!(step.effects, vec![]);
            }
        }
    }

    #[test]
    fn whatever_carries_another_epoch_is_refused(walk in walks(), other in 0u32..100) {
        for (_, step, now) in taken(&walk) {
            for event in agent_events(other) {
                if other != step.phase.epoch().0 {
                    prop_assert!(super::step(&step.phase, &event, &walk.limits, now).is_err());
                }
            }
        }
    }

    #[test]
    fn a_tick_changes_the_phase_at_its_announced_time_and_never_before(walk in walks(), idle_since in 0u64..400) {
        for (_, step, now) in taken(&walk) {
            let last_activity = now - Duration::from_secs(idle_since);
            let tick = Event::Tick { last_activity };
            match step.phase.next_tick(last_activity, &walk.limits) {
                Some(at) => {
                    let early = super::step(&step.phase, &tick, &walk.limits, at - Duration::from_micros(1)).unwrap();
                    prop_assert_eq!(&early.phase, &step.phase);
                    let due = super::step(&step.phase, &tick, &walk.limits, at).unwrap();
                    prop_assert_ne!(&due.phase, &step.phase);
                }
                None => {
                    let late = now + 1_000_000 * SECOND;
                    prop_assert_eq!(&super::step(&step.phase, &tick, &walk.limits, late).unwrap().phase, &step.phase);
                }
            }
        }
    }

    #[test]
    fn every_phase_survives_being_stored(walk in walks()) {
        for (_, step, _) in taken(&walk) {
            let text = serde_json::to_string(&step.phase).unwrap();
            prop_assert_eq!(serde_json::from_str::<Phase>(&text).unwrap(), step.phase);
        }
    }
}

/// A session from its admission on, with what happens to it.
#[derive(Clone, Debug)]
struct Walk {
    limits: Limits,
    events: Vec<(Happening, Duration)>,
}

/// An event whose epoch, if it has one, is relative to the phase that it meets.
#[derive(Clone, Debug)]
enum Happening {
    Initialise,
    Ready(u32),
    Lost(u32, u16),
    Finished(u32),
    Gone(u32),
    Stop(bool),
    Restart(Option<u32>),
    Tick,
    Recovered,
    Adopted,
}

fn walks() -> impl Strategy<Value = Walk> {
    // Most events carry the current epoch, so that walks get somewhere; one is the older, two the newer one.
    let epoch = || prop_oneof![8 => Just(1u32), 1 => Just(0), 1 => Just(2)];
    let happening = prop_oneof![
        4 => Just(Happening::Initialise),
        4 => epoch().prop_map(Happening::Ready),
        4 => (epoch(), any::<u16>()).prop_map(|(epoch, jitter)| Happening::Lost(epoch, jitter)),
        1 => epoch().prop_map(Happening::Finished),
        1 => epoch().prop_map(Happening::Gone),
        1 => any::<bool>().prop_map(Happening::Stop),
        2 => prop::option::of(epoch()).prop_map(Happening::Restart),
        2 => Just(Happening::Tick),
        2 => Just(Happening::Recovered),
        2 => Just(Happening::Adopted),
    ];
    let pause = prop_oneof![4 => 0u64..2_000, 1 => 0u64..400_000].prop_map(Duration::from_millis);
    let limit = || prop::option::of((1u64..900).prop_map(Duration::from_secs));
    (prop::collection::vec((happening, pause), 1..60), limit(), limit(), 1u32..5).prop_map(
        |(events, idle_timeout, max_lifetime, start_attempts)| Walk {
            limits: Limits { idle_timeout, max_lifetime, start_attempts, ..LIMITS },
            events,
        },
    )
}

/// The steps that the machine allowed: the phase before, the step, and when it was.
fn taken(walk: &Walk) -> Vec<(Phase, Step, Timestamp)> {
    let (mut phase, mut now) = (Phase::admitted(NOW + walk.limits.pending_timeout), NOW);
    let mut taken = vec![(phase.clone(), stay(&phase), now)];
    for (happening, pause) in &walk.events {
        now = now + *pause;
        let epoch = |relative: u32| Epoch((phase.epoch().0 + relative).saturating_sub(1));
        let event = match happening {
            Happening::Initialise => Event::Initialise,
            Happening::Ready(relative) => Event::AgentReady { epoch: epoch(*relative) },
            Happening::Lost(relative, jitter) => {
                Event::AgentLost { epoch: epoch(*relative), reason: Reason::new("crashed"), jitter: *jitter }
            }
            Happening::Finished(relative) => finished_event(epoch(*relative).0),
            Happening::Gone(relative) => Event::AgentGone { epoch: epoch(*relative) },
            Happening::Stop(force) => stop_event(*force),
            Happening::Restart(relative) => restart_event(relative.map(|relative| epoch(relative).0)),
            Happening::Tick => Event::Tick { last_activity: now },
            Happening::Recovered => Event::Recovered,
            Happening::Adopted => Event::Adopted,
        };
        if let Ok(step) = step(&phase, &event, &walk.limits, now) {
            taken.push((std::mem::replace(&mut phase, step.phase.clone()), step, now));
        }
    }
    taken
}

fn at_now(phase: &Phase, event: &Event) -> Step {
    step(phase, event, &LIMITS, NOW).unwrap()
}

fn unchanged(phase: &Phase, event: &Event) {
    assert_eq!(at_now(phase, event), stay(phase), "{event:?}");
}

fn refused(phase: &Phase, event: &Event, rejection: Rejection) {
    assert_eq!(step(phase, event, &LIMITS, NOW), Err(rejection), "{event:?}");
}

/// Pending for one more second, after one failed start.
fn pending(epoch: u32) -> Phase {
    Phase::Pending { deadline: NOW + SECOND, epoch: Epoch(epoch), failed_starts: 1, last_failure: None }
}

fn starting(epoch: u32) -> Phase {
    let start = Start::First { failed_starts: 0, last_failure: None };
    Phase::Starting { epoch: Epoch(epoch), not_before: NOW, deadline: NOW + LIMITS.start_timeout, start }
}

fn restarting(epoch: u32, first_ready: Timestamp, failures: Failures) -> Phase {
    let start = Start::Restart { first_ready, failures, reason: None };
    Phase::Starting { epoch: Epoch(epoch), not_before: NOW, deadline: NOW + LIMITS.start_timeout, start }
}

/// After one failure, with an agent that is killed at `kill_at`.
fn replacing(epoch: u32, kill_at: Timestamp) -> Phase {
    let reason = Box::new(Reason::new("for the upgrade"));
    let start = Start::Replacement { first_ready: NOW, failures: one_failure(), reason };
    Phase::Starting { epoch: Epoch(epoch), not_before: kill_at, deadline: kill_at + LIMITS.start_timeout, start }
}

fn running(epoch: u32) -> Phase {
    Phase::Running { epoch: Epoch(epoch), since: NOW, first_ready: NOW, failures: Failures::default() }
}

fn stopping(epoch: u32, deadline: Timestamp) -> Phase {
    Phase::Stopping { epoch: Epoch(epoch), deadline, ending: Ending::new(Outcome::Stopped, Reason::new("asked")) }
}

fn ended(epoch: u32, outcome: Outcome, reason: &str) -> Phase {
    Phase::Ended { epoch: Epoch(epoch), ending: Ending::new(outcome, Reason::new(reason)), log_bytes: 0 }
}

fn one_failure() -> Failures {
    match Failures::default().after_loss(NOW, Duration::ZERO, 0) {
        Decision::Restart { failures, .. } => failures,
        Decision::GiveUp { failures } => panic!("gave up after {failures}"),
    }
}

fn agent_events(epoch: u32) -> Vec<Event> {
    let gone = Event::AgentGone { epoch: Epoch(epoch) };
    vec![Event::AgentReady { epoch: Epoch(epoch) }, lost_event(epoch), finished_event(epoch), gone]
}

fn lost_event(epoch: u32) -> Event {
    Event::AgentLost { epoch: Epoch(epoch), reason: Reason::new("crashed"), jitter: 0 }
}

fn finished_event(epoch: u32) -> Event {
    Event::AgentFinished { epoch: Epoch(epoch), ending: Ending::new(Outcome::Completed, Reason::new("done")) }
}

fn stop_event(force: bool) -> Event {
    Event::Stop { force, reason: Reason::new("asked") }
}

fn restart_event(epoch: Option<u32>) -> Event {
    Event::Restart { epoch: epoch.map(Epoch), reason: Reason::new("for the upgrade") }
}

fn tick() -> Event {
    Event::Tick { last_activity: NOW }
}
