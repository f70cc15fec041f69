//! Administration of the server: what ships with it, readiness, figures, and regular cleaning.

mod builtin;
mod figures;
mod health;
pub mod readiness;
mod retention;
pub mod storage;
mod upkeep;

use std::ops::Deref;
use std::sync::Arc;

use crate::service::core::Core;

/// What the server does about itself. A handle that is cheap to make: everything it works with is shared.
#[derive(Clone)]
pub struct Admin(Arc<Core>);

impl Deref for Admin {
    type Target = Arc<Core>;

    fn deref(&self) -> &Arc<Core> {
        &self.0
    }
}

impl Core {
    pub(in crate::service) fn admin(self: &Arc<Self>) -> Admin {
        Admin(Arc::clone(self))
    }
}
