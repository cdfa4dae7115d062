//! A task that makes or keeps a second permit: nothing would fence it.

use pulsetail::supervisor::Permit;

fn another(permit: &Permit) -> Permit {
    permit.clone()
}

fn main() {
    let made = Permit::new(1);
}
