//! What operators do: retention, backups, upgrades, exports.

mod backup;
mod deploy;
mod exports;
mod limits;
mod retention;
mod storage;
mod traces;
mod upgrade;
