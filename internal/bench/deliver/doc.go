// Package deliver measures the way of a signal to an agent: to one whose session runs (deliver), and to one whose session
// sleeps (wake).
//
// The way of a figure: a federation of real programs runs in the scenario's folder, with one spoke over a real overlay. The
// agent is tee: it prints what it is given, and writes it into a named pipe that this program reads. Signals are numbered, so
// that what comes out of the pipe tells which of them an agent has. The times in the session's log say how far it was on the way.
//
// A latency ends when the reader of the pipe has the signal. Floors end there too.
//
// It must not import the programs' own packages but the API's client. Its goroutines belong to the scenario.
package deliver
