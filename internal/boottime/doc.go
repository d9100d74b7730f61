// Package boottime reads the clock that counts from the start of the machine and goes on while it sleeps. Leases are counted
// by it: a machine that slept through the end of its lease must know so.
//
// It is the same for all processes of a machine and means nothing on another one. It is never stored.
package boottime
