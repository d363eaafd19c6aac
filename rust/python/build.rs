//! Sets the `Py_3_12`-like and `Py_GIL_DISABLED` flags for this crate, as PyO3 has them for itself.
fn main() {
    pyo3_build_config::use_pyo3_cfgs();
}
