//! The worked response: names every object row by row and counts along.

use std::fmt::Write as _;

use super::question::{Filter, Kind};
use super::scene::ObjectsScene;
use crate::data::drawn::Subject;
use crate::domain::counted::counted;

/// Reads the picture and comes to the answer.
pub(super) fn write(scene: &ObjectsScene) -> String {
    let groups = scene.question.kind.groups();
    let mut counts = vec![0; groups.len()];
    let mut sentences: Vec<String> = (0..scene.grid).map(|row| read_row(scene, row, &groups, &mut counts)).collect();
    sentences.push(conclude(scene, &groups, &counts));
    sentences.join(" ")
}

fn read_row(scene: &ObjectsScene, row: usize, groups: &[Filter], counts: &mut [usize]) -> String {
    let objects = scene.objects.iter().filter(|object| object.cell / scene.grid == row);
    let names: Vec<String> = objects
        .map(|object| {
            let mut name = scene.call(object);
            for (group, count) in groups.iter().zip(counts.iter_mut()).filter(|(group, _)| group.fits(object)) {
                *count += 1;
                let _ = write!(name, " ({})", counted(*count, &group.one(), &group.many()));
            }
            name
        })
        .collect();
    let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    format!("Row {}: {names}.", row + 1)
}

fn conclude(scene: &ObjectsScene, groups: &[Filter], counts: &[usize]) -> String {
    let answer = scene.answer();
    let counted: Vec<String> =
        groups.iter().zip(counts).map(|(group, count)| counted(*count, &group.one(), &group.many())).collect();
    match &scene.question.kind {
        Kind::Count(_) => format!("The total is {}.", counted[0]),
        Kind::More(..) => {
            let sign = if answer == "yes" { "is more than" } else { "is not more than" };
            format!("I found {}. {} {sign} {}, so the answer is {answer}.", counted.join(" and "), counts[0], counts[1])
        }
        Kind::Difference(..) => {
            let (large, small) = (counts[0].max(counts[1]), counts[0].min(counts[1]));
            format!("I found {}. {large} - {small} = {answer}.", counted.join(" and "))
        }
        Kind::MostColour(_) => format!("I found {}. Most objects are {answer}.", counted.join(", ")),
    }
}
