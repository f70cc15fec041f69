//! Gradients.

use vgpo::model::View;

#[test]
fn placeholder() {
    let _ = View::Tracked;
}
