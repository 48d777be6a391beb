#![no_main]
voldemort_fuzz::fuzz!("import");
