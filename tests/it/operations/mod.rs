//! What operators do: retention, backups, upgrades, exports.

mod backup;
mod exports;
mod retention;
mod upgrade;
