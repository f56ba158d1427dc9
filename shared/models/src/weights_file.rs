//! Files of weights that people bring: state dicts that PyTorch saved, and safetensors files.

use std::{fs, io::Read, path::Path};

use pytorch_reader::{DType, PickleError, PickleValue, PytorchError, PytorchReader};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::ModelError;

/// The most bytes that are read of a file. The largest of the networks has 21 MB.
const MOST_BYTES: u64 = 1 << 30;

/// What `torch.save` and training loops put before the names of a network's tensors. No network has
/// names that begin so.
const WRAPPERS: [&str; 5] = [
    "state_dict.",
    "model.",
    "model_state_dict.",
    "module.",
    "_orig_mod.",
];

/// What to do about a file that holds something else than a state dict.
const SAVE: &str = "save the state dict with torch.save(model.state_dict(), FILE)";

/// Reads a file of weights, and returns it as a safetensors file. A state dict that
/// `torch.save` wrote, as a zip archive or as a legacy pickle, is read without running any of the
/// code that a pickle can name. Code and objects beside the tensors are left out: they can change
/// nothing, and training loops save such objects with the weights.
///
/// # Errors
/// [`ModelError::File`] if the file can't be read, holds no tensors, or holds code or objects where
/// the tensors should be.
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
    let reader = PytorchReader::new(path).map_err(|error| refusal(path, &error))?;
    let mut tensors: Vec<_> = reader.into_tensors().into_iter().collect();
    if tensors.is_empty() {
        return Err(format!("it holds no tensors: {SAVE}"));
    }
    tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
    let names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let wrapper = wrapper_of(&names);
    tensors.retain(|(name, _)| name.starts_with(&wrapper));
    // A file of a few bytes can say that one value fills a tensor of any size.
    let values = tensors.iter().map(|(_, tensor)| tensor.byte_len() as u64);
    let values = values.fold(0, u64::saturating_add);
    if values > MOST_BYTES {
        return Err(format!(
            "its tensors have {values} bytes, and no network here needs more than {MOST_BYTES}"
        ));
    }
    let mut stored = vec![];
    for (name, tensor) in &tensors {
        let bytes = tensor.read().map_err(|error| error.to_string())?;
        let (dtype, shape) = (safetensors_dtype(tensor.dtype()), tensor.shape().to_vec());
        stored.push((&name[wrapper.len()..], dtype, shape, bytes));
    }
    let views = stored.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        view.map(|view| (*name, view))
    });
    let views: Result<Vec<_>, _> = views.collect();
    let views = views.map_err(|error| error.to_string())?;
    safetensors::serialize(views, None).map_err(|error| error.to_string())
}

/// Says why the reader can't read a file.
fn refusal(path: &Path, error: &PytorchError) -> String {
    match unknown_type(path, error) {
        Some(found) if found.starts_with("torch.") || found.contains(' ') => format!(
            "it holds tensors that can't be read (`{found}`): weights are dense tensors of \
             floating-point numbers of 16, 32 or 64 bits"
        ),
        Some(found) => format!(
            "it holds code or objects other than the tensors of a state dict, such as `{found}`, and \
             maskline runs none of it: {SAVE}"
        ),
        None => format!(
            "it is neither a safetensors file nor a state dict that torch.save wrote: {error}"
        ),
    }
}

/// What the reader can't read: the name of a function or a class, or words about a kind of tensor.
/// `None` if there is another reason.
fn unknown_type(path: &Path, error: &PytorchError) -> Option<String> {
    // A function or a class is called with tensors.
    if let PytorchError::Pickle(PickleError::UnsupportedType(name)) = error {
        return Some(name.clone());
    }
    // It stands in place of the whole state dict.
    match PytorchReader::read_pickle_data(path, None) {
        Ok(PickleValue::Unsupported(name)) => Some(name),
        _ => None,
    }
}

/// What the names of the network's tensors begin with. A file of a training loop also holds the
/// tensors of its optimizer, whose names don't.
fn wrapper_of(names: &[&str]) -> String {
    let mut wrapper = String::new();
    loop {
        let inner = |part: &&&str| {
            let longer = format!("{wrapper}{part}");
            names.iter().any(|name| name.starts_with(&longer))
        };
        match WRAPPERS.iter().find(inner) {
            Some(part) => wrapper.push_str(part),
            None => return wrapper,
        }
    }
}

/// The same type in a safetensors file. The values are little-endian in both.
fn safetensors_dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wraps_the_names_of_a_network_is_found() {
        let plain = ["features.0.weight", "classifier.1.bias"];
        assert_eq!(wrapper_of(&plain), "");
        let parallel = ["module.features.0.weight", "module.classifier.1.bias"];
        assert_eq!(wrapper_of(&parallel), "module.");
        let both = ["state_dict.module.a", "state_dict.module.b"];
        assert_eq!(wrapper_of(&both), "state_dict.module.");
        let checkpoint = ["model.a", "optimizer.state.0.exp_avg"];
        assert_eq!(wrapper_of(&checkpoint), "model.");
    }
}
