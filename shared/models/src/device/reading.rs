//! Reading what a device has computed.

use std::{iter, mem};

use burn::tensor::Tensor;

use crate::error::ModelError;

/// Returns a tensor's values, in row-major order. Waits for the device to compute all that they
/// depend on, so that whatever went wrong on the way is an error here.
///
/// # Errors
/// [`ModelError::DeviceMemory`] if the device had no memory for one of the tensors that they depend
/// on, and [`ModelError::Output`] for everything else.
pub fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ModelError> {
    tensor.try_into_vec_as().map_err(|error| {
        let text = error.to_string();
        match NO_MEMORY.iter().any(|words| text.contains(words)) {
            true => ModelError::DeviceMemory(error.into()),
            false => ModelError::Output(error.into()),
        }
    })
}

/// The items in their order, each of which is given when the next one has been asked for. The first is
/// asked for at once. If they are tensors that a GPU is to compute, it computes the next one while
/// whoever takes them reads this one.
pub fn one_behind<T>(items: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
    let mut items = items.into_iter().fuse();
    let mut unread = items.next();
    iter::from_fn(move || mem::replace(&mut unread, items.next()))
}

/// What CubeCL says of a tensor that is larger than the device's buffers may be, and of one for
/// which there is no memory left. Burn passes its errors on as texts only.
const NO_MEMORY: [&str; 2] = ["can't allocate buffer of size", "out of device memory"];

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn an_item_is_given_when_the_next_one_has_been_asked_for() {
        let asked = Cell::new(0);
        let items = (0..3).inspect(|_| asked.set(asked.get() + 1));
        let given: Vec<(i32, i32)> = one_behind(items).map(|item| (item, asked.get())).collect();
        assert_eq!(given, [(0, 2), (1, 3), (2, 3)]);
        assert_eq!(one_behind([7]).collect::<Vec<_>>(), [7]);
        assert_eq!(one_behind([0; 0]).count(), 0);
    }
}
