//! Where a panic happened: only the hook knows, only the catcher needs it.

use std::any::Any;
use std::cell::RefCell;
use std::panic;
use std::sync::Once;

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics leave their place for [`describe`]; what the hook did before
/// it does still.
pub(super) fn note_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(ToString::to_string);
            PLACE.with(|noted| *noted.borrow_mut() = place);
            before(info);
        }));
    });
}

/// Message and place of the panic just caught on this thread.
pub(super) fn describe(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    let message = text.unwrap_or_else(|| "a panic without words".to_owned());
    let place = PLACE.with(|noted| noted.borrow_mut().take());
    match place {
        Some(place) => format!("{message}, at {place}"),
        None => message,
    }
}
