//! What the operator relies on in Flink, as named cases. Each runs on the fake and on real servers of both versions, so
//! that the fake cannot drift from the truth, and a new Flink cannot drift from us.
//!
//! The traps are those that were measured; a case's name says what must hold.

mod cancel;
mod fake;
mod hostile;
mod jars;
mod observe;
mod restart;
mod run;
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
    );
}

mod alone {
    cases!(super::super::target::run_alone:
        restart::a_frozen_jobmanager_runs_the_job_after_the_thaw_and_once,
        restart::another_process_has_another_identity_and_no_memory,
    );
}

mod without_submission {
    cases!(super::super::without_submission:
        jars::a_cluster_without_submission_says_so,
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

async fn without_submission(which: target::Which, case: impl AsyncFnOnce(&target::Target)) {
    target::run_with(which, "web.submit.enable", "false", case).await;
}
