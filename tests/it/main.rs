//! Tests of rooms together. One program, so that it links once.

mod render;
