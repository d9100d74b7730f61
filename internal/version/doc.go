// Package version says which build of Nave a program is.
//
// The way of the value: `make build` passes it to the linker (-X github.com/nave-dev/nave/internal/version.Version=...),
// programs print it and send it when they introduce themselves. A program that was built in another way says "source".
//
// Invariants:
//
//  1. Version is never empty and never changes while a program runs.
//
// The package imports nothing and starts nothing.
package version
