//! The compressors of one worker: how much memory they may take together, and those that wait for the next body.

use crate::{Compressor, Effort, memory_bytes};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use wire::http::Coding;

/// Compressors of each coding that are kept while nobody uses them.
const SPARE_MAX: usize = 4;

/// Compressors of one worker.
#[derive(Default)]
pub struct Pool {
    /// By [`Coding`].
    spare: RefCell<[Vec<Compressor>; Coding::ALL.len()]>,
    /// What those that are lent may allocate.
    lent_bytes: Cell<usize>,
}

impl Pool {
    /// A compressor, or `None` where with it all that are lent could take more than `bytes_max`.
    pub fn borrow(self: &Rc<Self>, coding: Coding, effort: Effort, bytes_max: usize) -> Option<Borrowed> {
        let lent = self.lent_bytes.get() + memory_bytes(coding, effort);
        if lent > bytes_max {
            return None;
        }
        self.lent_bytes.set(lent);
        let compressor = match self.spare.borrow_mut()[coding as usize].pop() {
            Some(mut spare) => {
                spare.restart(effort);
                spare
            }
            None => Compressor::new(coding, effort),
        };
        Some(Borrowed { compressor: Some(compressor), home: Rc::clone(self) })
    }

    /// What the compressors that are lent may allocate, in bytes.
    pub fn lent_bytes(&self) -> usize {
        self.lent_bytes.get()
    }

    /// Gives the memory of those that nobody uses back.
    pub fn trim(&self) {
        self.spare.borrow_mut().iter_mut().for_each(|spare| *spare = Vec::new());
    }
}

/// A compressor that goes back to its pool, wherever its body has ended.
pub struct Borrowed {
    /// Always there before `drop`.
    compressor: Option<Compressor>,
    home: Rc<Pool>,
}

impl std::ops::Deref for Borrowed {
    type Target = Compressor;

    fn deref(&self) -> &Compressor {
        self.compressor.as_ref().expect("only drop takes it out")
    }
}

impl std::ops::DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut Compressor {
        self.compressor.as_mut().expect("only drop takes it out")
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let Some(compressor) = self.compressor.take() else { return };
        let coding = compressor.coding();
        let lent = memory_bytes(coding, compressor.effort());
        self.home.lent_bytes.set(self.home.lent_bytes.get() - lent);
        let mut spare = self.home.spare.borrow_mut();
        // Brotli's cannot be used twice.
        if coding != Coding::Brotli && spare[coding as usize].len() < SPARE_MAX {
            spare[coding as usize].push(compressor);
        }
    }
}
