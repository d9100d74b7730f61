// Package drive runs scenarios and shows what they measured.
//
// The way of a figure: a program names its scenarios in a [Config]; Run makes the machine's facts, runs the scenarios one after
// another, each in a folder of its own and on the programs of bin/, prints their figures (table.go), writes them into the page
// (page.go), and compares the ratios of the figures that are marked for it with the committed ones (compare.go).
//
// Invariants:
//
//  1. In the page nothing changes but what is between the marks of a scenario that ran, and of the program that ran it.
//  2. The page has figures of the full form alone.
//
// It must not import a scenario. Its goroutines belong to the scenarios, which wait for them.
package drive
