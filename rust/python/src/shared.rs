//! The core's state together with what Python keeps in it: connections, their holders, how to wake a waiter.
//!
//! A *side* is the Python object that opened a connection and knows how to close it (`poolhouse.pool.sides`). It is kept beside the
//! connection, and refers to no pool, so a pool whose last reference is dropped goes at once.

use crate::alarms::Alarms;
use crate::bell::Bells;
use crate::caller::Place;
use crate::calls;
use crate::clock;
use crate::sleeper::Sleeper;
use crate::tokens::Closing;
use poolhouse_core::{Group, Hand, Host, Pool, Ticket};
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::gc::PyVisit;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::PyTraverseError;
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

pub(crate) type Core = Pool<SlotData, NodeData>;

/// Processes forked since the first import, in the line of descent: a lease of another number is not ours.
pub(crate) static FORKS: AtomicU32 = AtomicU32::new(0);

/// An open connection and who closes it.
pub(crate) struct Open {
    pub(crate) connection: Py<PyAny>,
    pub(crate) side: Py<PyAny>,
}

/// What the binding keeps for a slot.
#[derive(Default)]
pub(crate) struct SlotData {
    /// Written by whoever has the slot in hand; read by its holder.
    open: UnsafeCell<Option<Open>>,
    /// The thread that borrowed it (`threading.get_ident`), 0 for none.
    pub(crate) thread: AtomicU64,
    /// The address of the task that borrowed it, 0 for none.
    pub(crate) task: AtomicU64,
    /// Where it was borrowed; the lease owns the code object.
    pub(crate) code: AtomicPtr<ffi::PyObject>,
    pub(crate) instruction: AtomicI32,
    /// What the pool's tracer said of the borrower (leak detection), owned; null without one.
    trace: AtomicPtr<ffi::PyObject>,
}

// SAFETY: `open` is reached only through `Shared::put_open`, `take_open` and `connection`, whose callers have the slot in hand or hold
// its loan; the core's slot word orders them (I2). The garbage collector visits it while no thread runs Python.
unsafe impl Sync for SlotData {}
// SAFETY: as above; `Py` itself may be sent between threads.
unsafe impl Send for SlotData {}

impl SlotData {
    /// Note the holder of a loan that begins.
    #[inline(always)]
    pub(crate) fn note_holder(&self, thread: u64, task: u64) {
        self.thread.store(thread, Ordering::Relaxed);
        self.task.store(task, Ordering::Relaxed);
    }

    /// Note where it was taken.
    #[inline(always)]
    pub(crate) fn note_place(&self, place: &Place) {
        self.code.store(place.code, Ordering::Relaxed);
        self.instruction.store(place.instruction, Ordering::Relaxed);
    }

    /// The loan ends: the place must not be read any more, since the lease drops its code object.
    #[inline(always)]
    pub(crate) fn forget_holder(&self, py: Python<'_>) {
        self.code.store(ptr::null_mut(), Ordering::Relaxed);
        if !self.trace.load(Ordering::Relaxed).is_null() {
            self.set_trace(py, None);
        }
    }

    #[cold]
    pub(crate) fn set_trace(&self, py: Python<'_>, trace: Option<Py<PyAny>>) {
        let new = trace.map_or(ptr::null_mut(), Py::into_ptr);
        drop(owned(py, self.trace.swap(new, Ordering::AcqRel)));
    }

    /// What the tracer said.
    pub(crate) fn trace(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        if cfg!(Py_GIL_DISABLED) {
            // The lease might end, and drop it, while we look.
            return None;
        }
        // SAFETY: the GIL keeps the holder from dropping it between the load and our new reference.
        unsafe { Bound::from_borrowed_ptr_or_opt(py, self.trace.load(Ordering::Acquire)).map(Bound::unbind) }
    }
}

impl Drop for SlotData {
    fn drop(&mut self) {
        drop_owned(*self.trace.get_mut());
    }
}

/// What the binding keeps for a waiter: how to wake it, and its group, in one word, so that whoever takes the one has the other with
/// it: the node may be another waiter's a moment later.
#[derive(Default)]
pub(crate) struct NodeData {
    /// `[47:1]` an owned pointer, `[0]` whether it is what a task sleeps on or something to call, `[63:48]` the group; 0 when
    /// there is none, or when somebody has taken it.
    waker: AtomicU64,
    /// When a waiting task wants to be woken at the latest (ns); 0 for never. Written before the waker.
    until: AtomicU64,
}

/// Bits of a pointer to an object: user space ends below, and objects lie at even addresses.
const ADDRESS: u64 = (1 << 48) - 2;
const SLEEPER: u64 = 1;

/// How to wake a waiter.
pub(crate) enum Waker {
    /// Anything to call: a thread's lock.
    Call(Py<PyAny>),
    /// What a task sleeps on.
    Sleeper(Py<Sleeper>),
}

/// A waker as a word of [`NodeData`]; an owned pointer is in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct WakerWord(u64);

impl WakerWord {
    pub(crate) const NONE: WakerWord = WakerWord(0);

    pub(crate) fn new(waker: Waker, group: Group) -> Self {
        let (waker, flag) = match waker {
            Waker::Call(call) => (call, 0),
            Waker::Sleeper(sleeper) => (sleeper.into_any(), SLEEPER),
        };
        let pointer = waker.into_ptr() as u64;
        debug_assert!(pointer & !ADDRESS == 0);
        WakerWord(pointer | flag | u64::from(group) << 48)
    }

    pub(crate) fn from_word(word: u64) -> Self {
        WakerWord(word)
    }

    pub(crate) fn word(self) -> u64 {
        self.0
    }

    fn pointer(self) -> *mut ffi::PyObject {
        (self.0 & ADDRESS) as *mut ffi::PyObject
    }

    fn group(self) -> Group {
        (self.0 >> 48) as Group
    }

    /// One more owned pointer to the same.
    fn again(self, py: Python<'_>) -> Self {
        // SAFETY: the caller's word owns a reference, so the object is alive.
        let _ = unsafe { Bound::<PyAny>::from_borrowed_ptr(py, self.pointer()) }.into_ptr();
        self
    }

    /// For the garbage collector.
    pub(crate) fn traverse(self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        let waker = self.pointer();
        if waker.is_null() {
            return Ok(());
        }
        // SAFETY: `Py` is a transparent pointer to an object, and this one is alive while a word owns it; it is only looked at.
        visit.call(unsafe { &*ptr::from_ref(&waker).cast::<Py<PyAny>>() })
    }

    /// Drop the pointer that this word owns.
    pub(crate) fn forget(self, py: Python<'_>) {
        drop(owned(py, self.pointer()));
    }
}

impl NodeData {
    /// Set how to wake the waiter, and when at the latest; what was there before is dropped. The caller keeps *waker*, to withdraw it.
    pub(crate) fn set_waker(&self, py: Python<'_>, waker: WakerWord, until: u64) {
        self.until.store(until, Ordering::Relaxed);
        // Before the look that follows; `wake` comes after a change of what is looked at. So one of the two sees the other.
        WakerWord(self.waker.swap(waker.again(py).0, Ordering::SeqCst)).forget(py);
    }

    /// Take back a waker that was set here, if nobody has used or replaced it. The caller holds a reference of its own, so the
    /// address is of no other object.
    pub(crate) fn withdraw(&self, py: Python<'_>, waker: WakerWord) {
        if self.waker.compare_exchange(waker.0, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            waker.forget(py);
        }
    }

    /// Whether a waiter of *group* sleeps here, and until when.
    pub(crate) fn sleeps_until(&self, group: Group) -> Option<u64> {
        let word = WakerWord(self.waker.load(Ordering::Acquire));
        let until = self.until.load(Ordering::Relaxed);
        (word != WakerWord::NONE && word.group() == group && until != 0).then_some(until)
    }

    /// Use the waker, if there is one. Whoever swaps it out uses it; the waiter looks after each time, and sets a new waker before it
    /// looks for the last time. *ticket*: whose it is thought to be. *dead* is told of a group whose event loop is closed, and of the
    /// waiters there that nobody can wake.
    pub(crate) fn wake(&self, py: Python<'_>, ticket: Option<Ticket>, dead: impl FnOnce(Group, Vec<Ticket>)) {
        let word = WakerWord(self.waker.swap(0, Ordering::SeqCst));
        let Some(waker) = owned(py, word.pointer()) else {
            return;
        };
        guarded(py, |_| {
            if word.0 & SLEEPER == 0 {
                return calls::call(&waker, ()).map(drop);
            }
            let ticket = ticket.map(|ticket| Ticket { group: word.group(), ..ticket });
            if let Err(lost) = Sleeper::wake(waker.cast::<Sleeper>()?, ticket)? {
                dead(word.group(), lost);
            }
            Ok(())
        });
    }
}

impl Drop for NodeData {
    fn drop(&mut self) {
        drop_owned(WakerWord(*self.waker.get_mut()).pointer());
    }
}

/// Drop an owned reference from wherever the last owner of a state lets go of it.
fn drop_owned(pointer: *mut ffi::PyObject) {
    if !pointer.is_null() {
        Python::attach(|py| drop(owned(py, pointer)));
    }
}

/// The object of an owned pointer.
fn owned(py: Python<'_>, pointer: *mut ffi::PyObject) -> Option<Bound<'_, PyAny>> {
    // SAFETY: only for pointers that came from `Py::into_ptr` and were swapped out, so the reference is ours.
    unsafe { Bound::from_owned_ptr_or_opt(py, pointer) }
}

/// The state that all faces of one pool have in common.
pub(crate) struct Shared {
    pub(crate) core: Core,
    /// Borrowers that gave up in time; kept here, since the core does not know why a waiter leaves.
    pub(crate) timeouts: AtomicU64,
    /// All the time that served waiters waited, and the longest wait (ns).
    pub(crate) waited: AtomicU64,
    pub(crate) longest_wait: AtomicU64,
    /// Event loops that ever came: with more than one, some may have ended.
    pub(crate) loops: AtomicU32,
    /// When the event loops will look for tasks that have waited long enough.
    pub(crate) alarms: Alarms,
    /// How their tasks are woken.
    pub(crate) bells: Bells,
}

impl Shared {
    pub(crate) fn new(core: Core) -> Self {
        Shared {
            core,
            timeouts: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            longest_wait: AtomicU64::new(0),
            loops: AtomicU32::new(0),
            alarms: Alarms::default(),
            bells: Bells::default(),
        }
    }

    /// One more owner of this state.
    pub(crate) fn arc(&self) -> Arc<Shared> {
        let this = ptr::from_ref(self);
        // SAFETY: a `Shared` is only ever made by `Arc::new` (in `pool`), and `self` keeps it alive meanwhile.
        unsafe {
            Arc::increment_strong_count(this);
            Arc::from_raw(this)
        }
    }

    /// The connection of a slot whose loan the caller holds, or which it has in hand.
    #[inline(always)]
    pub(crate) fn connection(&self, slot: u32) -> Option<&Py<PyAny>> {
        // SAFETY: the caller's loan or hand keeps others from writing; see `SlotData`.
        unsafe { (*self.core.data(slot).open.get()).as_ref().map(|open| &open.connection) }
    }

    /// The connection and the side of a slot that somebody else has on loan, for a look from outside; `None` on free-threaded builds, where
    /// the holder could drop them while we look.
    pub(crate) fn open_of(&self, py: Python<'_>, slot: u32) -> Option<(Py<PyAny>, Py<PyAny>)> {
        if cfg!(Py_GIL_DISABLED) {
            return None;
        }
        // SAFETY: who takes the connection out of its slot does so under the GIL, which we hold until both references are ours.
        let open = unsafe { (*self.core.data(slot).open.get()).as_ref() }?;
        Some((open.connection.clone_ref(py), open.side.clone_ref(py)))
    }

    /// Write down the new connection of a slot in hand.
    pub(crate) fn put_open(&self, slot: u32, open: Open) {
        // SAFETY: the caller has the slot in hand.
        let before = unsafe { (*self.core.data(slot).open.get()).replace(open) };
        debug_assert!(before.is_none());
    }

    /// Take the connection out of a slot in hand.
    pub(crate) fn take_open(&self, slot: u32) -> Option<Open> {
        // SAFETY: the caller has the slot in hand.
        unsafe { (*self.core.data(slot).open.get()).take() }
    }

    /// For the garbage collector: the connections, which may refer to anything.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for slot in 0..self.core.slots_used() {
            // SAFETY: the collector runs while no other thread runs Python, and all who write do so attached to the interpreter.
            if let Some(open) = unsafe { (*self.core.data(slot).open.get()).as_ref() } {
                visit.call(&open.connection)?;
                visit.call(&open.side)?;
            }
        }
        for data in self.core.all_waiter_data() {
            WakerWord(data.waker.load(Ordering::Acquire)).traverse(visit)?;
        }
        Ok(())
    }

    pub(crate) fn host<'a, 'py>(&'a self, py: Python<'py>) -> Binding<'a, 'py> {
        Binding { shared: self, py }
    }

    /// End the connection that a permit was to replace, where it is still there: it was found dead or too old, so it must not be laid down
    /// again when the permit is given up.
    pub(crate) fn end_stale(&self, py: Python<'_>, hand: &Hand) {
        if let Some(open) = self.take_open(hand.slot()) {
            let mut shut = false;
            for _ in 0..ATTEMPTS {
                guarded(py, |py| {
                    let side = open.side.bind(py);
                    if !shut {
                        calls::method(side, intern!(py, "shut"), (&open.connection,))?;
                        shut = true;
                    }
                    calls::method(side, intern!(py, "finish"), (&open.connection, py.None())).map(drop)
                });
                if shut {
                    break;
                }
            }
        }
        self.core.stale_closed(&self.host(py), hand);
    }

    /// Count a wait that ended with a connection.
    pub(crate) fn note_wait(&self, since: u64, now: u64) {
        let waited = now.saturating_sub(since);
        self.waited.fetch_add(waited, Ordering::Relaxed);
        if waited > self.longest_wait.load(Ordering::Relaxed) {
            self.longest_wait.fetch_max(waited, Ordering::Relaxed);
        }
    }
}

/// How often the end of a connection is tried while a signal handler's exception strikes on the way into it.
const ATTEMPTS: u32 = 4;

/// The engine's side of the core's decisions.
pub(crate) struct Binding<'a, 'py> {
    shared: &'a Shared,
    py: Python<'py>,
}

impl Host for Binding<'_, '_> {
    fn wake(&self, node: u32, ticket: u64) {
        let core = &self.shared.core;
        // Its group is in the waker's word.
        let ticket = Ticket { node, number: ticket, group: 0 };
        core.waiter_data(node).wake(self.py, Some(ticket), |group, lost| {
            // Act for them, and for all of their group.
            core.end_group(self, group);
            for ticket in lost {
                core.cancel(self, ticket, clock::fine());
            }
        });
    }

    fn close(&self, hand: Hand) {
        let py = self.py;
        let shared = self.shared;
        let slot = hand.slot();
        let Some(open) = shared.take_open(slot) else {
            return shared.core.closed(self, hand, clock::fine());
        };
        let mut hand = Some(hand);
        let mut shut = None;
        let mut closing: Option<Py<Closing>> = None;
        // A signal handler's exception may strike on the way into either call, which then has done nothing: the place must not come back
        // beside a connection that is still open (I1), so it is called again.
        for _ in 0..ATTEMPTS {
            let mut through = false;
            guarded(py, |py| {
                if shut.is_none() {
                    let at_once = calls::method(open.side.bind(py), intern!(py, "shut"), (&open.connection,))?;
                    shut = Some(at_once.is_truthy()?);
                }
                if shut == Some(true) {
                    // The socket is gone, so the place is free; what closing still has to do is off the count, and not tried twice.
                    through = true;
                    if let Some(hand) = hand.take() {
                        shared.core.closed(self, hand, clock::fine());
                    }
                    calls::method(open.side.bind(py), intern!(py, "finish"), (&open.connection, py.None()))?;
                } else {
                    if let Some(taken) = hand.take() {
                        closing = Some(Py::new(py, Closing::new(shared.arc(), taken))?);
                    }
                    calls::method(open.side.bind(py), intern!(py, "finish"), (&open.connection, &closing))?;
                    through = true;
                }
                Ok(())
            });
            if through {
                break;
            }
        }
        // Whatever went wrong above, the place comes back.
        if let Some(hand) = hand.take() {
            shared.core.closed(self, hand, clock::fine());
        }
    }
}

/// Run Python code from a place that can raise nothing: a pending exception stays, one that escapes is reported.
pub(crate) fn guarded(py: Python<'_>, work: impl FnOnce(Python<'_>) -> PyResult<()>) {
    let pending = PyErr::take(py);
    if let Err(error) = work(py) {
        error.write_unraisable(py, None);
    }
    if let Some(pending) = pending {
        pending.restore(py);
    }
}

/// The error for a slot that lost its connection: a defect of this module, told instead of a crash.
#[cold]
pub(crate) fn no_connection() -> PyErr {
    PyRuntimeError::new_err("poolhouse: a lent slot has no connection; please report this")
}

/// This thread, as `threading.get_ident()` has it.
#[inline(always)]
pub(crate) fn thread_ident() -> u64 {
    extern "C" {
        fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
    }
    // SAFETY: no preconditions.
    unsafe { PyThread_get_thread_ident() as u64 }
}

/// The hint that this thread uses, one of sixteen. Stacks lie at equal distances, which Fibonacci hashing (Knuth, The Art of Computer
/// Programming 3, 6.4) spreads evenly, whatever the distance is.
#[inline(always)]
pub(crate) fn lane(thread: u64) -> usize {
    ((thread >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60) as usize
}
