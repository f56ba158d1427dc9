//! Devices that fail, for the tests of what becomes of a run then.
//!
//! Such a device is the CPU under another name. Like every device it fails when what it has computed
//! is read.

use std::{collections::BTreeMap, sync::Mutex};

use maskline_models::{ModelError, device::Compute};

use crate::fixtures;

/// How a device fails. Epochs are counted from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// From an epoch on it has no memory for more than so many images at a time.
    Memory { from_epoch: usize, images: usize },
    /// It is lost in an epoch.
    Lost { in_epoch: usize },
}

/// The faults of the devices, by their names.
static FAULTS: Mutex<BTreeMap<String, Fault>> = Mutex::new(BTreeMap::new());

/// A device with a fault. The name must be that of no other test's.
pub(crate) fn faulty(name: &str, fault: Fault) -> Compute {
    let mut faults = FAULTS.lock().expect("nobody panics with the faults");
    faults.insert(name.to_owned(), fault);
    Compute {
        name: name.to_owned(),
        ..fixtures::compute()
    }
}

/// What comes of reading what a device has computed in an epoch, with so many images at a time.
///
/// # Errors
/// [`ModelError::DeviceMemory`] if it has no memory for them.
///
/// # Panics
/// If the device is lost, as one does in the thread that asks it.
pub(super) fn check(device: &str, epoch: usize, images: usize) -> Result<(), ModelError> {
    let faults = FAULTS.lock().expect("nobody panics with the faults");
    let fault = faults.get(device).copied();
    drop(faults);
    match fault {
        Some(Fault::Memory {
            from_epoch,
            images: most,
        }) if epoch >= from_epoch && images > most => {
            Err(ModelError::DeviceMemory("out of device memory".into()))
        }
        Some(Fault::Lost { in_epoch }) if epoch == in_epoch => panic!("{device} is lost"),
        _ => Ok(()),
    }
}
