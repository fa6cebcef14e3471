//! For tests: how much memory the code of one thread holds, and the most that it has held.
//!
//! What one thread allocates and another frees is not told apart, so it is for tests that run in one thread.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static COUNTED: Counted = Counted;

struct Counted;

fn add(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    MOST.set(MOST.get().max(held));
}

// SAFETY: all is done by the system's allocator; the counters are plain numbers, which need no memory and no destructor.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size() as isize);
        // SAFETY: as it was asked of us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-(layout.size() as isize));
        // SAFETY: as it was asked of us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes that this thread holds, and those that it has held at most since it was asked last.
pub(crate) fn held_and_most() -> (isize, isize) {
    let held = HELD.get();
    (held, MOST.replace(held))
}
