//! Who may do what: keys, roles, projects, sessions.

mod keys;
mod place;
mod routes;
mod sessions;
