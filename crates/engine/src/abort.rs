//! Gives up a computation that nobody wants any more.

use std::cell::Cell;
use std::ffi::c_void;

type Ask<'a> = dyn Fn() -> bool + 'a;

/// Asks, while a context computes, whether to give up. It must live as long as the context.
pub(crate) struct Abort(Box<Cell<Option<*const Ask<'static>>>>);

// SAFETY: what it points to is there only during `during`, which the thread that has it does not leave.
unsafe impl Send for Abort {}

impl Abort {
    pub(crate) fn new() -> Self {
        Self(Box::new(Cell::new(None)))
    }

    /// What llama.cpp calls, and what it gives to that. Behind each of some hundred steps of a computation it does so,
    /// on the thread that has begun it.
    pub(crate) fn callback(&self) -> (unsafe extern "C" fn(*mut c_void) -> bool, *mut c_void) {
        (ask, (&raw const *self.0).cast_mut().cast())
    }

    /// Has `asked` asked while `compute` runs, which fails once that says yes.
    pub(crate) fn during<T>(&self, asked: &Ask<'_>, compute: impl FnOnce() -> T) -> T {
        let asked: *const Ask<'_> = asked;
        // SAFETY: only the lifetime changes, and the pointer is gone before it ends.
        self.0.set(Some(unsafe { std::mem::transmute::<*const Ask<'_>, *const Ask<'static>>(asked) }));
        let computed = compute();
        self.0.set(None);
        computed
    }
}

unsafe extern "C" fn ask(data: *mut c_void) -> bool {
    // SAFETY: it is what `callback` gave, which lives as long as the context, and only this thread uses it.
    let asked = unsafe { &*data.cast::<Cell<Option<*const Ask<'static>>>>() };
    // SAFETY: `during` has not returned.
    asked.get().is_some_and(|asked| unsafe { (*asked)() })
}
