//! Conditions of lists, pushed onto a query; the same for every database.

use sqlx::{Database, Encode, QueryBuilder, Type};

use crate::domain::event::EventFilter;
use crate::domain::job::JobState;
use crate::domain::page::Page;

/// ` AND column IN (states)`, unless there are none.
pub(super) fn push_states<DB>(query: &mut QueryBuilder<DB>, column: &str, states: &[JobState])
where
    DB: Database,
    String: for<'q> Encode<'q, DB> + Type<DB>,
{
    if states.is_empty() {
        return;
    }
    query.push(format_args!(" AND {column} IN ("));
    let mut list = query.separated(", ");
    for state in states {
        list.push_bind(state.name().to_owned());
    }
    query.push(")");
}

/// ` AND column = value`, if there is one.
pub(super) fn push_equal<DB>(query: &mut QueryBuilder<DB>, column: &str, value: Option<&str>)
where
    DB: Database,
    String: for<'q> Encode<'q, DB> + Type<DB>,
{
    if let Some(value) = value {
        query.push(format_args!(" AND {column} = ")).push_bind(value.to_owned());
    }
}

/// ` AND` the JSON object in `column` has this key (and this value), if one is asked for. `each` is the database's
/// function that turns an object into rows of `key` and `value`.
pub(super) fn push_tag<DB>(
    query: &mut QueryBuilder<DB>,
    each: &str,
    column: &str,
    tag: Option<&(String, Option<String>)>,
) where
    DB: Database,
    String: for<'q> Encode<'q, DB> + Type<DB>,
{
    let Some((key, value)) = tag else { return };
    query.push(format_args!(" AND EXISTS (SELECT 1 FROM {each}({column}) AS tag WHERE tag.key = "));
    query.push_bind(key.clone());
    if let Some(value) = value {
        query.push(" AND tag.value = ").push_bind(value.clone());
    }
    query.push(")");
}

/// Newest first after the page's cursor, and one entry more than wanted.
pub(super) fn push_page<DB>(query: &mut QueryBuilder<DB>, column: &str, page: &Page)
where
    DB: Database,
    String: for<'q> Encode<'q, DB> + Type<DB>,
    i64: for<'q> Encode<'q, DB> + Type<DB>,
{
    if let Some(after) = &page.after {
        query.push(format_args!(" AND {column} < ")).push_bind(after.clone());
    }
    query.push(format_args!(" ORDER BY {column} DESC LIMIT ")).push_bind(i64::from(page.limit) + 1);
}

/// ` AND` the event fits the filter.
pub(super) fn push_event_filter<DB>(query: &mut QueryBuilder<DB>, filter: &EventFilter)
where
    DB: Database,
    String: for<'q> Encode<'q, DB> + Type<DB>,
    i32: for<'q> Encode<'q, DB> + Type<DB>,
{
    if !filter.jobs.is_empty() || !filter.runs.is_empty() {
        query.push(" AND (false");
        push_any(query, "job_id", &filter.jobs);
        push_any(query, "run_id", &filter.runs);
        query.push(")");
    }
    if !filter.projects.is_empty() {
        query.push(" AND (false");
        push_any(query, "events.project", &filter.projects);
        query.push(" OR EXISTS (SELECT 1 FROM jobs WHERE jobs.id = events.job_id AND (false");
        push_any(query, "jobs.project", &filter.projects);
        query.push(")))");
    }
    if filter.kinds.is_empty() {
        return;
    }
    query.push(" AND (false");
    for kind in &filter.kinds {
        match kind.strip_suffix('*') {
            None => query.push(" OR kind = ").push_bind(kind.clone()),
            Some(prefix) => query
                .push(" OR substr(kind, 1, ")
                .push_bind(prefix.chars().count() as i32)
                .push(") = ")
                .push_bind(prefix.to_owned()),
        };
    }
    query.push(")");
}

/// ` OR column IN (values)`, unless there are none.
fn push_any<DB>(query: &mut QueryBuilder<DB>, column: &str, values: &[String])
where
    DB: Database,
    String: for<'q> Encode<'q, DB> + Type<DB>,
{
    if values.is_empty() {
        return;
    }
    query.push(format_args!(" OR {column} IN ("));
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value.clone());
    }
    query.push(")");
}
