// Command bench measures the paths of Nave, each beside the least that it could cost on this machine.
//
//	go run ./internal/bench [--run NAME,... [--only PART,...]] [--quick] [--page FILE] [--ratios FILE [--keep]] [--profiles DIR]
//
// The way of a figure: main.go hands the scenarios of scenarios.go to package drive, which runs them one after another, shows
// their figures, and writes them into the page. Parts for --only are slow and members of accept, rates and counts of events.
//
// Each scenario has a package below this one; what a floor needs in a process of its own is in floor.
//
// It must not be imported. Its goroutines belong to the scenarios, which wait for them.
package main
