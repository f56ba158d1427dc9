//! Matrix products on slices, by the `gemm` crate.

use std::mem::MaybeUninit;

/// A view of values as a matrix, with any strides of its rows and columns.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix in row-major order.
    ///
    /// # Panics
    /// Panics if there are not `rows` × `columns` values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(values.len(), rows * columns, "a matrix fills its slice");
        Self {
            values,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The same values with rows and columns swapped.
    pub fn transposed(self) -> Self {
        Self {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// `output = a · b`, in row-major order. It writes every value of `output`.
pub fn multiply(output: &mut [MaybeUninit<f32>], a: Matrix, b: Matrix) {
    product(output, false, a, b);
}

/// `output += a · b`, in row-major order.
pub fn multiply_add(output: &mut [f32], a: Matrix, b: Matrix) {
    // SAFETY: `product` only ever writes values, so none becomes uninitialized.
    let output = unsafe { &mut *(output as *mut [f32] as *mut [MaybeUninit<f32>]) };
    product(output, true, a, b);
}

/// Writes the product to `output`, or adds it if `add` is true. `output` is read only
/// for that, and must be initialized then.
fn product(output: &mut [MaybeUninit<f32>], add: bool, a: Matrix, b: Matrix) {
    assert_eq!(a.columns, b.rows, "the inner dimensions agree");
    assert_eq!(
        output.len(),
        a.rows * b.columns,
        "the product fills its slice"
    );
    // SAFETY: the assertion above says that `output` has rows × columns values.
    // `Matrix::new` asserts the same of `a` and `b`, whose strides only ever swap
    // together with their sizes.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            output.as_mut_ptr().cast::<f32>(),
            1,
            b.columns as isize,
            add,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            // The callers divide the images among the threads.
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_transposed_matrices_add_up() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let b = [1.0, 0.0, 2.0, 1.0, 3.0, 0.0];
        let mut sum = [10.0; 4];
        multiply_add(
            &mut sum,
            Matrix::new(&a, 2, 3),
            Matrix::new(&b, 2, 3).transposed(),
        );
        assert_eq!(sum, [17.0, 17.0, 26.0, 29.0]);
    }
}
