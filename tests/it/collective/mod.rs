//! Operations over ranks: results, deadlines that name who is missing, faults that reach everyone.

use std::sync::Arc;
use std::time::Duration;

use vgpo::collective::gpus::{Gpu, distinct};
use vgpo::collective::threads::{ThreadRank, join};
use vgpo::collective::{Collective, CollectiveError, Fault, Peer, Solo, introduce};

const DEADLINE: Duration = Duration::from_secs(20);

/// What each of `size` ranks gives.
pub fn on_ranks<T: Send>(size: usize, deadline: Duration, work: impl Fn(&ThreadRank) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let start = |rank: ThreadRank| scope.spawn(move || work(&rank));
        let running: Vec<_> = join(size, deadline).into_iter().map(start).collect();
        running.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn every_operation_gives_every_rank_the_same() {
    for size in [1, 2, 3, 4] {
        let results = on_ranks(size, DEADLINE, |ranks| {
            let own = vec![ranks.rank() as u8; ranks.rank()];
            let gathered = ranks.gather("parts", own).unwrap();
            let told = ranks.broadcast("a word", format!("from {}", ranks.rank()).into_bytes()).unwrap();
            ranks.barrier("a point").unwrap();
            // Of values whose sum depends on the order.
            let mut values: Vec<f32> =
                (0..7).map(|i| (1.0 + i as f32) * 1e7_f32.powi(ranks.rank() as i32 - 1)).collect();
            ranks.all_reduce("values", &mut values).unwrap();
            let parts: Vec<_> = (0..size).map(|to| Arc::new(vec![(10 * ranks.rank() + to) as u8])).collect();
            let exchanged = ranks.exchange("letters", &parts).unwrap();
            assert_eq!(exchanged, (0..size).map(|from| vec![(10 * from + ranks.rank()) as u8]).collect::<Vec<_>>());
            ranks.close().unwrap();
            (gathered, told, values.iter().map(|value| value.to_bits()).collect::<Vec<_>>())
        });
        let (gathered, told, sums) = &results[0];
        assert_eq!(gathered, &(0..size).map(|rank| vec![rank as u8; rank]).collect::<Vec<_>>());
        assert_eq!(told, b"from 0");
        let of_rank = |i: usize, rank: usize| (1.0 + i as f32) * 1e7_f32.powi(rank as i32 - 1);
        let in_order = |i| (1..size).fold(of_rank(i, 0), |sum, rank| sum + of_rank(i, rank)).to_bits();
        assert_eq!(sums, &(0..7).map(in_order).collect::<Vec<_>>(), "sums follow the ranks");
        assert!(results.iter().all(|result| result == &results[0]));
    }
    let mut alone = vec![1.0];
    Solo.all_reduce("values", &mut alone).unwrap();
    assert_eq!((alone, Solo.gather("parts", vec![7]).unwrap()), (vec![1.0], vec![vec![7]]));
}

#[test]
fn a_missing_rank_is_named_within_the_deadline() {
    let results = on_ranks(3, Duration::from_millis(300), |ranks| {
        if ranks.rank() == 2 {
            std::thread::sleep(Duration::from_secs(1));
            return None;
        }
        let error = ranks.barrier("the gradients").unwrap_err();
        assert_eq!(ranks.barrier("anything"), Err(CollectiveError::Ended), "nothing works after an error");
        Some(error)
    });
    for error in results.into_iter().flatten() {
        let text = error.named(|rank| Some(format!("host h{rank}"))).to_string();
        assert!(text.starts_with("rank 2 (host h2) is silent") && text.contains("waiting for the gradients"), "{text}");
    }
}

#[test]
fn a_fault_reaches_every_rank_at_its_next_operation() {
    let results = on_ranks(3, DEADLINE, |ranks| {
        ranks.barrier("a point").unwrap();
        if ranks.rank() == 1 {
            ranks.fail(&Fault::new("reward: it burns", true));
            return None;
        }
        Some(ranks.gather("responses", vec![1; 100]).unwrap_err())
    });
    for error in results.into_iter().flatten() {
        assert!(error.is_permanent());
        assert_eq!(error.to_string(), "rank 1: reward: it burns");
    }
    assert_eq!(Fault::new("ä".repeat(3000), false).message.chars().count(), 1000, "cut at a whole character");
}

#[test]
fn ranks_at_different_operations_notice_it() {
    let results = on_ranks(2, DEADLINE, |ranks| {
        let what = if ranks.rank() == 0 { "responses" } else { "gradients" };
        ranks.barrier(what).unwrap_err()
    });
    assert!(results.iter().all(|error| matches!(error, CollectiveError::Different { .. })), "{results:?}");
    assert!(results[0].to_string().starts_with("rank 1 is at gradients while rank 0 is at responses"));
}

#[test]
fn all_ranks_must_run_the_same_program() {
    let peers = |other: &str, version: &str| {
        on_ranks(2, DEADLINE, |ranks| {
            let mut own = Peer::here().unwrap();
            if ranks.rank() == 1 {
                (own.build, own.version) = (other.to_owned(), version.to_owned());
            }
            introduce(ranks, &own)
        })
    };
    let own = Peer::here().unwrap();
    for found in peers(&own.build, &own.version) {
        assert_eq!(found.unwrap(), [own.clone(), own.clone()]);
    }
    for (build, version) in [("0123456789abcdef", own.version.as_str()), (own.build.as_str(), "9.9.9")] {
        for error in peers(build, version) {
            let text = error.unwrap_err().to_string();
            let told = [&own.host, &own.build, &own.version, build, version, "the same build on every host"];
            assert!(text.starts_with("rank 1 on host") && told.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}

#[test]
fn two_ranks_with_one_gpu_are_refused_by_name() {
    let checked = |ids: [&str; 3]| {
        on_ranks(3, DEADLINE, |ranks| {
            let rank = ranks.rank();
            distinct(ranks, &Gpu { host: format!("h{rank}"), name: format!("cuda:{rank}"), id: ids[rank].to_owned() })
        })
    };
    assert!(checked(["GPU-a", "GPU-b", "GPU-c"]).into_iter().all(|checked| checked == Ok(())));
    // Two names of one GPU, as containers have them.
    for refused in checked(["GPU-a", "GPU-b", "GPU-a"]) {
        let error = refused.unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("ranks 0 and 2 both work on one GPU (GPU-a, cuda:2 of host h2)"), "{text}");
        assert!(error.is_permanent() && text.contains("`deterministic`"), "{text}");
    }
}
