// Command bench measures the paths of Nave, each beside the least that it could cost on this machine.
//
//	go run ./internal/bench [--run NAME,... [--only PART,...]] [--quick] [--page FILE] [--ratios FILE [--keep]] [--profiles DIR]
//
// The way of a figure: main.go makes the machine's facts, runs the scenarios of scenarios.go one after another, each in a folder
// of its own and on the programs of bin/, prints their figures (table.go), writes them into the page (page.go), and compares
// the ratios of the figures that are marked for it with the committed ones (compare.go).
//
// Each scenario has a package below this one; what a floor needs in a process of its own is in floor.
//
// It must not be imported. Its goroutines belong to the scenarios, which wait for them.
package main
