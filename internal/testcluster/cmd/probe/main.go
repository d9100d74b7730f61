// Probe is what runs in the pods of a bed's own tests: it asks an HTTP server again and again and prints each answer.
//
//	probe URL
//
// A line is "reached STATUS" or "not reached: WHY". Every question takes a connection of its own, so that an old one does not
// hide a partition.
package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	every = 200 * time.Millisecond
	limit = time.Second // of one question
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: probe URL")
		os.Exit(2)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	client := &http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(every)
	for {
		answer, err := client.Get(os.Args[1])
		if err != nil {
			fmt.Println("not reached:", err)
		} else {
			_ = answer.Body.Close() // its status is all that is asked for
			fmt.Println("reached", answer.StatusCode)
		}
		select {
		case <-tick.C:
		case <-end:
			return
		}
	}
}
