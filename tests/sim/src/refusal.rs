//! An answer that is an error, in the engine's own form.

use hyper::StatusCode;

#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: String) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, message }
    }

    pub(crate) fn bad(message: String) -> Self {
        Self::new(400, message)
    }

    pub(crate) fn not_found(message: String) -> Self {
        Self::new(404, message)
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self::bad(message)
    }
}
