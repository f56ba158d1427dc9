//! Tests of the detector. They are one program, because linking Burn takes longer than the tests
//! themselves.

mod drawn;
mod golden;
mod pictures;
