//! How a question about a bar chart is worked out.

use super::question::Kind;
use super::scene::ChartScene;

/// Reads the bars that matter, one by one, and computes along.
pub(super) fn work(scene: &ChartScene) -> String {
    let values = &scene.values;
    let answer = scene.kind.answer(values);
    let read = |bars: &[usize]| -> String {
        let readings: Vec<String> = bars.iter().map(|bar| scene.reading(*bar)).collect();
        capital(&readings.join("; "))
    };
    let along = |word: &str, next: fn(u32, u32) -> u32| -> String {
        let mut so_far = 0;
        let step = |bar: usize| {
            so_far = next(so_far, values[bar]);
            format!("{}, {word} {so_far}", scene.reading(bar))
        };
        capital(&(0..values.len()).map(step).collect::<Vec<_>>().join("; "))
    };
    match scene.kind {
        Kind::Value(bar) => format!("{}.", read(&[bar])),
        Kind::Highest => format!("{}. The highest is bar {answer}.", along("largest so far", u32::max)),
        Kind::Largest => format!("{}. The largest value is {answer}.", along("largest so far", u32::max)),
        Kind::Total => format!("{}. The sum is {answer}.", along("total", |total, value| total + value)),
        Kind::Difference(one, two) => {
            let (large, small) = (values[one].max(values[two]), values[one].min(values[two]));
            format!("{}. {large} - {small} = {answer}.", read(&[one, two]))
        }
        Kind::Sum(one, two) => format!("{}. {} + {} = {answer}.", read(&[one, two]), values[one], values[two]),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
