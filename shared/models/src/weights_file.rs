//! Files of weights that people bring: state dicts that PyTorch saved, and safetensors files.

use std::{fs, io::Read, path::Path};

use pytorch_reader::{DType, PytorchReader};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::ModelError;

/// The most bytes that are read of a file. The largest of the networks has 21 MB.
const MOST_BYTES: u64 = 1 << 30;

/// What `torch.save` and training loops put before the names of a network's tensors.
const WRAPPERS: [&str; 5] = [
    "state_dict.",
    "model.",
    "model_state_dict.",
    "module.",
    "_orig_mod.",
];

/// Reads a file of weights, and returns it as a safetensors file. A state dict that
/// `torch.save` wrote, as a zip archive or as a legacy pickle, is read without running any of the
/// code that a pickle can name.
///
/// # Errors
/// [`ModelError::File`] if the file can't be read or holds no tensors.
pub fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    let refused = |problem: String| ModelError::File {
        path: path.to_owned(),
        problem,
    };
    let size = fs::metadata(path)
        .map_err(|error| refused(error.to_string()))?
        .len();
    if size > MOST_BYTES {
        return Err(refused(format!(
            "it has {size} bytes, and no network here needs more than {MOST_BYTES}"
        )));
    }
    if is_safetensors(path).map_err(|error| refused(error.to_string()))? {
        let bytes = fs::read(path).map_err(|error| refused(error.to_string()))?;
        let read = SafeTensors::deserialize(&bytes);
        read.map_err(|error| refused(format!("not a sound safetensors file: {error}")))?;
        return Ok(bytes);
    }
    from_torch(path).map_err(refused)
}

/// A safetensors file begins with the length of its header, which is JSON.
fn is_safetensors(path: &Path) -> std::io::Result<bool> {
    let mut beginning = vec![];
    fs::File::open(path)?.take(9).read_to_end(&mut beginning)?;
    Ok(beginning.get(8) == Some(&b'{'))
}

/// Reads what `torch.save` wrote.
fn from_torch(path: &Path) -> Result<Vec<u8>, String> {
    let reader = PytorchReader::new(path).map_err(|error| {
        format!("it is neither a safetensors file nor one that torch.save wrote: {error}")
    })?;
    let mut tensors: Vec<_> = reader.into_tensors().into_iter().collect();
    if tensors.is_empty() {
        return Err(
            "it holds no tensors: save the state dict with torch.save(model.state_dict(), FILE)"
                .to_owned(),
        );
    }
    tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let wrapped = wrapper_of(&names);
    let mut stored = vec![];
    for (name, tensor) in &tensors {
        let bytes = tensor.read().map_err(|error| error.to_string())?;
        let (dtype, bytes) = converted(tensor.dtype(), bytes);
        stored.push((&name[wrapped..], dtype, tensor.shape().to_vec(), bytes));
    }
    let views = stored.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        view.map(|view| (*name, view))
    });
    let views: Result<Vec<_>, _> = views.collect();
    let views = views.map_err(|error| error.to_string())?;
    safetensors::serialize(views, None).map_err(|error| error.to_string())
}

/// The number of bytes that all names have before those of the network.
fn wrapper_of(names: &[&str]) -> usize {
    let mut wrapped = 0;
    loop {
        let all_have = |wrapper: &&&str| {
            let mut names = names.iter();
            names.all(|name| name[wrapped..].starts_with(**wrapper))
        };
        match WRAPPERS.iter().find(all_have) {
            Some(wrapper) => wrapped += wrapper.len(),
            None => return wrapped,
        }
    }
}

/// The type of a tensor's values in a safetensors file. Doubles become floats, because the weights
/// of the networks are floats. The values are little-endian, as those of this machine.
fn converted(dtype: DType, bytes: Vec<u8>) -> (Dtype, Vec<u8>) {
    let same = match dtype {
        DType::F64 => {
            let (doubles, _) = bytes.as_chunks::<8>();
            let floats = doubles
                .iter()
                .map(|&bytes| f64::from_le_bytes(bytes) as f32);
            return (Dtype::F32, floats.flat_map(f32::to_le_bytes).collect());
        }
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    };
    (same, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wraps_all_names_is_taken_away() {
        let of = |names: &[&str]| wrapper_of(names);
        assert_eq!(of(&["features.0.weight", "classifier.1.bias"]), 0);
        assert_eq!(
            of(&["module.features.0.weight", "module.classifier.1.bias"]),
            7
        );
        assert_eq!(of(&["state_dict.module.a", "state_dict.module.b"]), 18);
        assert_eq!(of(&["model.a", "b"]), 0);
    }
}
