package main

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/nave-dev/nave/api"
)

// judge says whether what must be true after the faults is.
func (f *faults) judge(all []seen) []fact {
	if f == nil {
		return nil
	}
	return judgeFaults(f.outcome, f.queue.session, all)
}

// judgeFaults compares what the logs say with what was done. The events of the session queue were followed meanwhile.
func judgeFaults(o outcome, queue string, all []seen) []fact {
	accepted := 0
	var log seen
	for _, s := range all {
		for _, ev := range s.events {
			at := ev.GetTime().AsTime()
			if api.EventType(ev.GetType()) == api.EventAccepted && at.After(o.memberDown) && at.Before(o.memberUp) {
				accepted += len(ev.GetSignals())
			}
		}
		if s.sent.session == queue {
			log = s
		}
	}
	different := sameEvents(o, log)
	return []fact{
		{"signals were accepted while a member of etcd was down", fmt.Sprintf("%d in %.1f s, %d or more expected", accepted, o.memberUp.Sub(o.memberDown).Seconds(), o.whileDown),
			o.whileDown > 0 && accepted >= o.whileDown},
		{"after the database's death every event is there once", fmt.Sprintf("%d streamed before it, %d after it, %d in the log%s",
			o.beforeDeath, len(o.streamed)-o.beforeLife, len(log.events), different), different == ""},
	}
}

// sameEvents describes the first difference between what streamed in over the database's death and what is in the log, or "".
func sameEvents(o outcome, log seen) string {
	if o.beforeDeath == 0 || len(o.streamed) <= o.beforeLife {
		return ": nothing streamed before it or after it"
	}
	type place struct {
		source string
		number uint64
	}
	had := map[place]bool{}
	for i, ev := range log.events {
		p := place{ev.GetSource(), ev.GetSourceNumber()}
		if had[p] {
			return fmt.Sprintf(": event %d of source %s is there twice", p.number, p.source)
		}
		had[p] = true
		if i < len(o.streamed) && !proto.Equal(ev, o.streamed[i]) {
			return fmt.Sprintf(": number %d streamed in as another event", ev.GetNumber())
		}
	}
	if len(log.events) < len(o.streamed) {
		return fmt.Sprintf(": %d that streamed in are gone", len(o.streamed)-len(log.events))
	}
	return ""
}
