//! What one rendering of a chat template may read and make, in bytes.
//!
//! Fuel counts instructions, and one instruction may double a text or sort a megabyte. So every operation on values is
//! charged for what it reads and for what it makes; [`super::template_checks`] sees to it that none is left out. Bytes,
//! not seconds: a prompt is rendered or refused on every machine alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State, Value, escape_formatter};

/// A filter that lets a value pass which an operation is about to read.
pub(super) const READ: &str = "#read";
/// The same for a value that an operation has made.
pub(super) const MADE: &str = "#made";
/// The same for a value that becomes part of another one.
pub(super) const KEPT: &str = "#kept";

/// Bytes that all operations of a rendering may read.
const MOST_READ: usize = 1 << 30;
/// Bytes that all operations of a rendering may make: captured and written texts, results of operators, filters and
/// methods.
const MOST_MADE: usize = 128 << 20;
/// Bytes of one text that is worked with.
const LONGEST: usize = 4 << 20;
/// Bytes of one list or mapping with all that is in it.
const LARGEST: usize = 16 << 20;
/// Bytes that an entry of a list or a mapping counts as.
const PER_ENTRY: usize = 32;
/// How deep values may be nested.
const DEEPEST: usize = 64;

/// What is left.
#[derive(Debug)]
struct Budget {
    read: AtomicUsize,
    made: AtomicUsize,
}

impl Object for Budget {}

impl Budget {
    /// That of a rendering: macros have it in common with what calls them.
    fn of(state: &State<'_, '_>) -> Arc<Self> {
        const NAME: &str = "budget of the rendering";
        state.get_or_set_temp_object(NAME, || Self {
            read: AtomicUsize::new(MOST_READ),
            made: AtomicUsize::new(MOST_MADE),
        })
    }
}

fn take(from: &AtomicUsize, bytes: usize, what: &str, most: usize) -> Result<(), Error> {
    let taken = from.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
    taken.map(drop).map_err(|_| Error::new(ErrorKind::OutOfFuel, format!("it {what} more than {most} bytes")))
}

/// Charges a rendering for what it makes.
pub(super) fn make(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    take(&Budget::of(state).made, bytes, "makes", MOST_MADE)
}

/// Charges a rendering for a text that is about to be made.
pub(super) fn make_text(state: &State<'_, '_>, bytes: usize) -> Result<(), Error> {
    if bytes > LONGEST {
        let detail = format!("it makes a text of {bytes} bytes, more than {LONGEST}");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    make(state, bytes)
}

/// Charges a rendering for a value that it reads, with all that is in it; its bytes.
pub(super) fn read(state: &State<'_, '_>, value: &Value) -> Result<usize, Error> {
    let most = if value.as_str().is_some() { LONGEST } else { LARGEST };
    let mut left = most;
    weigh(value, &mut left, 0)?;
    let bytes = most - left;
    take(&Budget::of(state).read, bytes, "reads", MOST_READ)?;
    Ok(bytes)
}

/// Charges a rendering for a value that was made; what is in a list or a mapping was charged before.
pub(super) fn made(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    let bytes = value.as_str().map_or_else(|| value.len().unwrap_or(0).saturating_mul(PER_ENTRY), str::len);
    make(state, bytes)
}

/// Takes the bytes of a value from what is left.
fn weigh(value: &Value, left: &mut usize, depth: usize) -> Result<(), Error> {
    if depth > DEEPEST {
        let detail = format!("its values are nested more than {DEEPEST} deep");
        return Err(Error::new(ErrorKind::InvalidOperation, detail));
    }
    let bytes = value.as_str().map_or(PER_ENTRY, str::len);
    *left = left.checked_sub(bytes).ok_or_else(|| {
        Error::new(ErrorKind::InvalidOperation, format!("it works with a value of more than {LARGEST} bytes"))
    })?;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.try_for_each(|item| weigh(&item, left, depth + 1)),
        ValueKind::Map => value.try_iter()?.try_for_each(|key| {
            weigh(&key, left, depth + 1)?;
            weigh(&value.get_item(&key)?, left, depth + 1)
        }),
        _ => Ok(()),
    }
}

/// A namespace inside of another value could hold itself, and would never be freed.
fn refuse_namespace(value: &Value) -> Result<(), Error> {
    if value.as_object().is_some_and(|object| object.type_name().ends_with("::Namespace")) {
        return Err(Error::new(ErrorKind::InvalidOperation, "a namespace cannot be part of another value"));
    }
    Ok(())
}

/// Gives an environment the filters that charge, and a formatter that does.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter(READ, |state: &State<'_, '_>, value: Value| read(state, &value).map(|_| value));
    environment.add_filter(MADE, |state: &State<'_, '_>, value: Value| made(state, &value).map(|()| value));
    environment.add_filter(KEPT, |state: &State<'_, '_>, value: Value| {
        refuse_namespace(&value)?;
        read(state, &value).map(|_| value)
    });
    environment.set_formatter(write);
}

fn write(out: &mut Output<'_>, state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    // A text is written as it is; of a list all that is in it.
    let bytes = value.as_str().map_or_else(|| read(state, value), |text| Ok(text.len()))?;
    make(state, bytes)?;
    escape_formatter(out, state, value)
}
