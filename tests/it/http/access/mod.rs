//! Who may do what: keys, roles, projects, sessions.

mod keys;
mod limits;
pub(crate) mod place;
mod program;
mod routes;
mod sessions;
mod streams;
