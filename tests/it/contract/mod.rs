//! What the operator relies on in Flink, as named cases. Each runs on the fake and on real servers of both versions, so
//! that the fake cannot drift from the truth, and a new Flink cannot drift from us.
//!
//! The traps are those that were measured; a case's name says what must hold.

mod cancel;
mod dispose;
mod failure;
mod fake;
mod fake_state;
mod hostile;
mod jars;
mod observe;
mod restart;
mod run;
mod savepoint;
mod state;
mod stop;
mod target;
mod tls;

/// Declares each case four times: `fake_1_20`, `fake_2_3`, `flink_1_20`, `flink_2_3`.
macro_rules! cases {
    ($runner:path: $($topic:ident::$case:ident),* $(,)?) => {
        mod fake_1_20 { cases!(@on Fake V1_20, $runner: $($topic::$case),*); }
        mod fake_2_3 { cases!(@on Fake V2_3, $runner: $($topic::$case),*); }
        mod flink_1_20 { cases!(@on Real V1_20, $runner: $($topic::$case),*); }
        mod flink_2_3 { cases!(@on Real V2_3, $runner: $($topic::$case),*); }
    };
    (@on $kind:ident $version:ident, $runner:path: $($topic:ident::$case:ident),*) => {
        use super::super::target::Which;
        $(#[tokio::test]
        async fn $case() {
            let which = Which::$kind(devcluster::FlinkVersion::$version);
            $runner(which, super::super::$topic::$case).await;
        })*
    };
}

mod shared {
    cases!(super::super::target::run:
        cancel::a_cancelled_job_ends_and_stays_known,
        cancel::cancelling_twice_is_no_error,
        cancel::cancelling_an_ended_job_is_a_conflict,
        cancel::cancelling_an_unknown_job_is_not_found,
        jars::the_upload_names_the_process_that_the_configuration_names,
        jars::an_uploaded_jar_is_listed_until_it_is_deleted,
        jars::a_job_outlives_its_jar,
        jars::a_run_of_an_absent_jar_starts_nothing,
        jars::what_is_no_jar_is_uploaded_but_does_not_run,
        observe::every_read_can_be_read,
        observe::status_codes_are_the_odd_ones_that_were_measured,
        observe::a_job_is_unknown_while_its_main_method_runs,
        observe::the_details_of_a_running_job,
        observe::the_root_cause_of_a_failed_job,
        observe::a_bounded_job_stays_in_the_list,
        observe::a_job_without_slots_is_running_all_the_same,
        observe::a_path_that_is_not_flinks_is_not_a_missing_job,
        dispose::a_savepoint_is_disposed_of_once_and_restores_no_more,
        dispose::a_savepoint_can_be_named_by_its_metadata,
        dispose::a_savepoint_without_metadata_is_neither_disposed_of_nor_restored,
        dispose::a_path_with_nothing_there_is_told_apart,
        dispose::a_retained_checkpoint_restores_its_count_after_a_cancel_and_can_be_disposed_of,
        dispose::a_checkpoint_that_is_not_retained_is_gone_after_a_cancel,
        dispose::an_unknown_disposal_is_unknown,
        failure::a_failed_job_goes_on_from_the_checkpoint_that_it_left_behind,
        failure::a_checkpoint_that_goes_with_a_cancel_stays_after_a_failure,
        failure::a_checkpoint_that_is_not_retained_is_gone_after_a_failure,
        run::a_job_id_is_taken_once,
        run::four_runs_at_once_start_one_job,
        run::an_ended_job_keeps_its_id,
        run::a_dropped_connection_does_not_stop_the_run,
        run::a_deadline_does_not_stop_the_run,
        run::unknown_fields_are_ignored_and_the_reply_tells,
        run::the_request_arrives_as_it_was_meant,
        run::the_configuration_of_a_run_takes_effect_and_its_state_is_restored,
        run::a_throwing_main_uses_up_nothing,
        run::a_main_that_never_executes_is_refused,
        run::a_main_that_executes_twice_leaves_one_job,
        run::a_main_with_two_environments_leaves_one_job,
        run::a_main_that_throws_after_execute_leaves_its_job,
        run::a_missing_savepoint_uses_up_the_id,
        run::a_missing_class_is_refused,
        run::a_malformed_run_is_refused,
        savepoint::a_savepoint_completes_under_its_directory_and_the_job_goes_on,
        savepoint::one_trigger_makes_one_savepoint_however_often_it_is_sent,
        savepoint::a_failure_is_remembered_under_its_trigger,
        savepoint::an_unknown_trigger_is_unknown,
        savepoint::a_savepoint_of_a_job_that_does_not_run_is_accepted_and_fails,
        savepoint::a_savepoint_before_all_tasks_run_fails_and_harms_nothing,
        savepoint::a_task_that_fails_in_a_savepoint_fails_its_job,
        savepoint::a_task_that_fails_in_a_savepoint_restarts_a_job_that_may_restart,
        savepoint::the_canonical_format_fails_a_job_of_2_x_that_the_native_one_does_not,
        savepoint::the_configuration_of_checkpoints_is_told,
        savepoint::the_first_checkpoint_of_2_x_comes_at_once,
        savepoint::a_malformed_savepoint_is_refused,
        stop::a_stop_ends_the_job_as_finished_and_its_savepoint_restores_the_count,
        stop::the_savepoint_of_a_stop_is_found_in_the_history_when_its_trigger_is_lost,
        stop::one_trigger_stops_once_however_often_it_is_sent,
        stop::another_stop_of_a_stopped_job_fails_and_says_that_it_does_not_run,
        stop::two_stops_at_once_are_never_both_done,
        stop::a_stop_with_a_wrong_directory_leaves_the_job_running,
        stop::a_stop_whose_job_fails_at_its_end_names_the_savepoint,
        stop::a_stop_that_hangs_names_its_savepoint_when_the_job_is_cancelled,
    );
}

mod alone {
    cases!(super::super::target::run_alone:
        restart::a_frozen_jobmanager_runs_the_job_after_the_thaw_and_once,
        restart::another_process_has_another_identity_and_no_memory,
        restart::outcomes_are_gone_with_their_process_and_savepoints_are_not,
        restart::a_checkpoint_outlives_its_process_and_restores_the_count,
    );
}

mod without_submission {
    cases!(super::super::without_submission:
        jars::a_cluster_without_submission_says_so,
    );
}

mod short_memory {
    cases!(super::super::short_memory:
        savepoint::an_outcome_expires_and_its_trigger_acts_again,
    );
}

mod upload_folder {
    cases!(super::super::upload_folder:
        jars::an_upload_folder_of_its_own_outlives_the_process,
    );
}

async fn upload_folder(which: target::Which, case: impl AsyncFnOnce(&target::Target)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    target::run_with(which, "web.upload.dir", path, case).await;
}

async fn short_memory(which: target::Which, case: impl AsyncFnOnce(&target::Target)) {
    target::run_with(which, "rest.async.store-duration", "1 s", case).await;
}

async fn without_submission(which: target::Which, case: impl AsyncFnOnce(&target::Target)) {
    target::run_with(which, "web.submit.enable", "false", case).await;
}
