//! Tests of `store`: one conformance suite that every database passes, and what is special to one of them.

mod access;
mod alerts;
mod checkpoints;
mod engines;
mod events;
mod figures;
pub(crate) mod fixture;
mod interleaving;
mod jobs;
mod metrics;
mod models;
pub(crate) mod postgres;
mod postgres_only;
mod queue;
mod quotas;
mod retention;
mod runs;
mod silence;
mod sqlite_only;
mod statements;
mod states;
mod storage;
mod sweeps;
mod trackers;

/// One test function for each named check, each on an empty database of its own.
macro_rules! suite {
    ($kind:expr; $($module:ident: $($check:ident),+;)+) => {
        $($(
            #[tokio::test]
            async fn $check() {
                let Some(db) = $kind.make().await else { return };
                super::$module::$check(&db).await;
                db.close().await;
            }
        )+)+
    };
}

/// The whole suite, on databases of one kind.
macro_rules! conformance {
    ($kind:expr) => {
        suite! { $kind;
            jobs: submitting_inserts_job_run_and_event, lists_are_paged_and_filtered, asking_follows_the_table,
                a_job_that_cannot_succeed_takes_waiting_jobs_along, after_must_name_a_job_that_can_succeed,
                a_retried_job_counts_attempts_from_zero, runs_are_listed_and_updated;
            queue: claims_follow_priority_then_submission, claims_match_the_device,
                claims_respect_the_ranks_a_worker_can_start, claims_wait_for_after_and_back_off,
                a_heartbeat_extends_and_tells_what_is_wanted, an_expired_lease_goes_back_and_fences,
                a_clock_that_jumps_ends_no_lease, hosts_whose_clocks_differ_agree_on_leases,
                a_database_that_stood_still_ends_no_lease, a_pause_by_a_clock_that_is_ahead_is_over,
                attempts_run_out, a_pausing_or_cancelling_job_ends_there_when_its_worker_dies,
                a_release_gives_the_attempt_back, a_dead_worker_is_released_at_once, finishing_twice_is_refused,
                every_write_of_a_stale_attempt_is_refused, concurrent_claims_never_share_a_job;
            quotas: a_project_has_as_many_jobs_at_work_as_it_may, claims_at_once_keep_to_the_limit,
                a_project_holds_as_many_gpus_as_it_may, a_project_stores_its_checkpoints_and_data_sets;
            metrics: points_come_back_as_they_went_in, buckets_keep_min_mean_and_max, keys_know_last_and_extremes,
                a_later_value_replaces_an_earlier_one, a_rewind_replaces_everything_beyond,
                a_rewind_to_the_beginning_clears_step_zero, samples_are_listed_by_step, accuracy_reaches_the_run;
            checkpoints: best_and_last_follow, held_checkpoints_stay, promotion_moves_the_name,
                checkpoints_are_listed;
            events: events_are_filtered_and_ordered, pruning_keeps_sequence_numbers, workers_register_and_beat,
                idempotency_replays, what_a_key_made_is_known_after_a_crash;
            engines: engines_register_beat_and_leave, silent_engines_expire_and_are_forgotten;
            figures: figures_follow_the_queue, lost_leases_are_counted, jobs_of_a_later_form_are_left_to_later_programs;
            retention: old_results_go_in_batches, checkpoints_that_something_holds_stay, old_events_go_from_the_front;
            runs: asking_the_same_again_is_a_repeat, priority_and_labels_change_with_an_event,
                a_scheduled_job_starts_not_before_its_time, a_waiting_job_starts_from_what_the_other_left,
                a_run_goes_on_with_another_job, more_steps_end_early_stopping, a_deleted_run_takes_everything_along;
            sweeps: a_sweep_is_submitted_as_a_whole, sweeps_are_listed;
            access: keys_are_kept_found_and_listed, last_use_is_written_once_a_minute,
                a_revoked_key_stays_in_the_list_with_the_time_of_its_end, tickets_run_out_and_are_taken_once,
                the_audit_log_is_read_backwards;
            alerts: an_alert_is_recorded_once, an_alert_is_sent_by_one_server, an_alert_that_is_given_up_is_an_event,
                a_webhook_stays_with_its_run, servers_note_what_they_have_watched, jobs_that_run_are_heard_of;
            trackers: a_run_is_sent_by_one_server, a_tracker_goes_on_where_it_is;
            storage: a_database_keeps_its_id, deleted_records_leave_a_note_for_their_files, orphans_are_old_and_seen_twice,
                a_data_set_that_came_to_its_end_stays_so, data_sets_on_their_way_in_have_a_server,
                a_name_never_leaves_its_project;
            models: models_and_data_sets_are_upserted, models_are_held_and_deleted,
                data_sets_are_registered_held_and_deleted;
        }
    };
}

mod on_sqlite {
    conformance!(super::fixture::Kind::Sqlite);
}

mod on_postgres {
    conformance!(super::fixture::Kind::Postgres);
}
