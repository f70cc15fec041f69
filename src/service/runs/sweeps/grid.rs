//! A grid of settings: from names and lists of values to points.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::config::job::{escape, pointer};
use crate::domain::brief::{QUOTED, cut, is_printable};
use crate::domain::field_error::FieldError;
use crate::domain::plain::plain;
use crate::domain::sweep::SweepSettings;

/// Most points of one sweep.
pub const MAX_POINTS: usize = 256;
/// Most settings that a sweep varies.
const MAX_AXES: usize = 32;

/// These settings may hold a secret, and the names of jobs tell the values that are varied.
const ALERTS: &str = "/alerts";

/// One varied setting.
#[derive(Debug, PartialEq)]
struct Axis {
    /// JSON pointer into the job.
    pointer: String,
    /// What it is called in the names of jobs.
    label: String,
    values: Vec<Value>,
}

/// Every combination of values, the last setting changing fastest.
#[derive(Debug, PartialEq)]
pub struct Grid(Vec<Axis>);

/// One combination.
#[derive(Debug, PartialEq)]
pub struct Point {
    /// JSON pointer -> value.
    pub settings: SweepSettings,
    /// The settings in words, e.g. `beta=0.3 seed=1`.
    pub label: String,
}

impl Grid {
    /// Reads a grid: names are JSON pointers (`/method/beta`) or paths (`method.beta`).
    pub fn parse(grid: &Map<String, Value>) -> Result<Self, Vec<FieldError>> {
        // Counted before anything is compared: comparing costs more the more there is.
        count(grid).map_err(|error| vec![error])?;
        let (mut axes, mut errors): (Vec<Axis>, Vec<FieldError>) = (Vec::new(), Vec::new());
        for (name, values) in grid {
            match axis(name, values, &axes) {
                Ok(axis) => axes.push(axis),
                Err(detail) => errors.push(FieldError::new(at(name), detail)),
            }
        }
        if grid.is_empty() {
            errors.push(FieldError::new("/grid", "a grid varies at least one setting, e.g. {\"seed\": [0, 1, 2]}"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        label(&mut axes);
        Ok(Self(axes))
    }

    /// The grid with pointers for names.
    pub fn as_map(&self) -> Map<String, Value> {
        self.0.iter().map(|axis| (axis.pointer.clone(), Value::Array(axis.values.clone()))).collect()
    }

    /// Every point, in order.
    pub fn points(&self) -> Vec<Point> {
        let mut points = vec![Point { settings: SweepSettings::new(), label: String::new() }];
        for axis in &self.0 {
            points = points.iter().flat_map(|point| axis.values.iter().map(|value| point.with(axis, value))).collect();
        }
        points
    }
}

impl Point {
    fn with(&self, axis: &Axis, value: &Value) -> Self {
        let mut settings = self.settings.clone();
        settings.insert(axis.pointer.clone(), value.clone());
        let text: String = cut(&plain(value), QUOTED).chars().filter(|c| is_printable(*c)).collect();
        Self { settings, label: format!("{} {}={text}", self.label, axis.label).trim_start().to_owned() }
    }

    /// `job` with this point's settings.
    pub fn apply(&self, job: &Value) -> Result<Value, FieldError> {
        let mut job = job.clone();
        for (pointer, value) in &self.settings {
            *place(&mut job, pointer)? = value.clone();
        }
        Ok(job)
    }
}

/// Refuses grids with too many settings or points.
fn count(grid: &Map<String, Value>) -> Result<(), FieldError> {
    if grid.len() > MAX_AXES {
        let detail = format!("the grid varies {} settings; the limit is {MAX_AXES}", grid.len());
        return Err(FieldError::new("/grid", detail));
    }
    let values = grid.values().filter_map(Value::as_array).map(|values| values.len().max(1));
    let points = values.fold(1, usize::saturating_mul);
    if points > MAX_POINTS {
        let detail = format!("the grid has {points} points; the limit is {MAX_POINTS}: vary fewer values at once");
        return Err(FieldError::new("/grid", detail));
    }
    Ok(())
}

/// The address of a grid's entry.
pub fn at(name: &str) -> String {
    format!("/grid/{}", escape(name))
}

fn axis(name: &str, values: &Value, others: &[Axis]) -> Result<Axis, String> {
    let pointer = pointer(name);
    let values = values.as_array().filter(|values| !values.is_empty());
    let values = values.ok_or_else(|| format!("`{name}` needs a list of at least one value, e.g. [1, 2]"))?;
    if pointer == ALERTS || pointer.starts_with(&format!("{ALERTS}/")) {
        return Err(format!("`{name}` cannot be varied: set alerts in `job`, for all points of the sweep"));
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = values.iter().map(Value::to_string).find(|text| !seen.insert(text.clone())) {
        return Err(format!("`{name}` has the value {} twice", cut(&twice, QUOTED)));
    }
    let inside = |outer: &str, inner: &str| inner == outer || inner.starts_with(&format!("{outer}/"));
    if let Some(other) = others.iter().find(|o| inside(&o.pointer, &pointer) || inside(&pointer, &o.pointer)) {
        return Err(format!("`{name}` and `{}` set the same field", other.pointer));
    }
    Ok(Axis { label: String::new(), pointer, values: values.clone() })
}

/// The last part of a pointer names a setting, unless two of them end the same way.
fn label(axes: &mut [Axis]) {
    let last = |pointer: &str| pointer.rsplit('/').next().unwrap_or_default().to_owned();
    let lasts: Vec<String> = axes.iter().map(|axis| last(&axis.pointer)).collect();
    for (axis, short) in axes.iter_mut().zip(&lasts) {
        let unique = lasts.iter().filter(|other| *other == short).count() == 1 && short.parse::<usize>().is_err();
        axis.label = if unique { short.clone() } else { axis.pointer.trim_start_matches('/').replace('/', ".") };
    }
}

/// The place that a pointer names, with the objects on the way made where there are none.
fn place<'a>(job: &'a mut Value, pointer: &str) -> Result<&'a mut Value, FieldError> {
    let mut slot = job;
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        slot = match slot {
            Value::Object(fields) => fields.entry(name).or_insert_with(|| Value::Object(Map::new())),
            Value::Array(items) => {
                let index = name.parse::<usize>().ok().and_then(|index| items.get_mut(index));
                index.ok_or_else(|| FieldError::new(at(pointer), format!("`job` has no entry `{name}` there")))?
            }
            _ => return Err(FieldError::new(at(pointer), format!("`{name}` is not in an object of `job`"))),
        };
    }
    Ok(slot)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grid(value: &Value) -> Result<Grid, Vec<FieldError>> {
        Grid::parse(value.as_object().unwrap())
    }

    #[test]
    fn points_are_every_combination_with_names_of_their_own() {
        let grid = grid(&json!({"method.beta": [0.1, 0.3], "/reward/parts/0/weight": [1], "seed": [0, 1]})).unwrap();
        let points = grid.points();
        let labels: Vec<_> = points.iter().map(|p| p.label.as_str()).collect();
        assert_eq!(labels[0], "beta=0.1 weight=1 seed=0");
        assert_eq!(labels[3], "beta=0.3 weight=1 seed=1");
        assert_eq!(points.len(), 4);
        let job = json!({"model": "m", "reward": {"parts": [{"weight": 0.5}]}});
        let applied = points[2].apply(&job).unwrap();
        assert_eq!(
            applied,
            json!({"model": "m", "reward": {"parts": [{"weight": 1}]}, "method": {"beta": 0.3}, "seed": 0})
        );
        assert_eq!(grid.as_map().keys().collect::<Vec<_>>(), ["/method/beta", "/reward/parts/0/weight", "/seed"]);
    }

    #[test]
    fn same_endings_are_told_apart() {
        let grid = grid(&json!({"rollout.filter.low": [0.1], "other.low": ["x"]})).unwrap();
        assert_eq!(grid.points()[0].label, "rollout.filter.low=0.1 other.low=x");
    }

    #[test]
    fn faults_name_the_entry() {
        let many: Vec<u64> = (0..17).collect();
        let axes: Map<String, Value> = (0..33).map(|n| (format!("a{n}"), json!([1]))).collect();
        let axes = Value::Object(axes);
        for (value, pointer, told) in [
            (json!({}), "/grid", "at least one setting"),
            (json!({"seed": 3}), "/grid/seed", "needs a list"),
            (json!({"seed": []}), "/grid/seed", "needs a list"),
            (json!({"seed": [1, 1]}), "/grid/seed", "the value 1 twice"),
            (json!({"/method": [1], "method.beta": [1]}), "/grid/method.beta", "set the same field"),
            (json!({"seed": many, "steps": many}), "/grid", "289 points; the limit is 256"),
            (json!({"seed": (0..300).collect::<Vec<_>>()}), "/grid", "300 points; the limit is 256"),
            (axes, "/grid", "varies 33 settings; the limit is 32"),
        ] {
            let errors = grid(&value).unwrap_err();
            assert_eq!(errors[0].pointer, pointer, "{value}");
            assert!(errors[0].detail.contains(told), "{}", errors[0].detail);
        }
        let point = &grid(&json!({"/steps/x": [1]})).unwrap().points()[0];
        assert!(point.apply(&json!({"steps": 4})).unwrap_err().detail.contains("is not in an object"));
    }
}
