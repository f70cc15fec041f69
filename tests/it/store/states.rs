//! The table of job states, without a database.

use vgpo::domain::job::{JobAction, JobState, Transition};

use JobState::{Cancelled, Cancelling, Failed, Paused, Pausing, Queued, Running, Succeeded};

#[test]
fn the_table_is_exactly_this() {
    let asked = Transition::Asked;
    let legal = [
        (Queued, Transition::Claim, Running),
        (Running, Transition::Complete, Succeeded),
        (Pausing, Transition::Complete, Succeeded),
        (Cancelling, Transition::Complete, Cancelled),
        (Running, Transition::Fail, Failed),
        (Pausing, Transition::Fail, Failed),
        (Cancelling, Transition::Fail, Cancelled),
        (Running, Transition::Requeue, Queued),
        (Pausing, Transition::Requeue, Paused),
        (Cancelling, Transition::Requeue, Cancelled),
        (Running, asked(JobAction::Pause), Pausing),
        (Pausing, asked(JobAction::Pause), Pausing),
        (Paused, asked(JobAction::Pause), Paused),
        (Paused, asked(JobAction::Resume), Queued),
        (Queued, asked(JobAction::Cancel), Cancelled),
        (Paused, asked(JobAction::Cancel), Cancelled),
        (Running, asked(JobAction::Cancel), Cancelling),
        (Pausing, asked(JobAction::Cancel), Cancelling),
        (Cancelling, asked(JobAction::Cancel), Cancelling),
        (Cancelled, asked(JobAction::Cancel), Cancelled),
        (Failed, asked(JobAction::Retry), Queued),
        (Cancelled, asked(JobAction::Retry), Queued),
    ];
    let mut transitions = vec![Transition::Claim, Transition::Complete, Transition::Fail, Transition::Requeue];
    transitions.extend(JobAction::ALL.map(Transition::Asked));
    for state in JobState::ALL {
        for transition in &transitions {
            let expected = legal.iter().find(|(f, t, _)| f == &state && t == transition).map(|(.., to)| *to);
            assert_eq!(state.can(*transition), expected, "{state} {transition:?}");
        }
    }
    assert_eq!(Running.allowed(), [JobAction::Pause, JobAction::Cancel]);
    assert!(Succeeded.allowed().is_empty());
    for state in JobState::ALL {
        assert_eq!(JobState::from_name(state.name()), Some(state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.name());
    }
}
