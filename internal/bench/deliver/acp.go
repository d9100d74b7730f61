package deliver

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/nave-dev/nave/api"
)

// talking is how many sessions there are of the agent that speaks the Agent Client Protocol.
const talking = 50

// talk is a program of the Agent Client Protocol that answers at once. It writes prompts to the named pipe of its argument.
const talk = `while IFS= read -r line; do
	id=${line#*'"id":'} id=${id%%[,\}]*}
	case $line in
	*'"method":"initialize"'*) answer='{"protocolVersion":1,"agentCapabilities":{"loadSession":true},"agentInfo":{"name":"bench","version":"1"}}' ;;
	*'"method":"session/new"'*) answer='{"sessionId":"one"}' ;;
	*'"method":"session/prompt"'*) printf '%s\n' "$line" >"$1"; answer='{"stopReason":"end_turn"}' ;;
	*) answer='{}' ;;
	esac
	printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$answer"
done
`

// converse is the same way with an agent of the Agent Client Protocol: its program is started for each turn, greeted, and asked
// to load its conversation before it gets the signal.
func converse(ctx context.Context, w *world, f *relayFloor) error {
	const agent = "talk"
	script := w.f.Path("talk.sh")
	if err := os.WriteFile(script, []byte(talk), 0o600); err != nil {
		return err
	}
	if err := w.apply(ctx, agent, api.ProtocolACP, time.Hour, "/bin/sh", script, w.arrivals.path); err != nil {
		return err
	}
	if _, _, err := w.load(ctx, agent, 20, talking*time.Second/20, talking, 0); err != nil {
		return err
	}
	for _, rate := range []float64{25, 50, 100} {
		if err := w.settled(ctx, api.PhaseRunning); err != nil {
			return err
		}
		base, err := f.load(ctx, rate, 3*time.Second)
		if err != nil {
			return err
		}
		run, _, err := w.load(ctx, agent, rate, 8*time.Second, talking, 0)
		if err != nil {
			return err
		}
		w.b.Latency(fmt.Sprintf("signal to an agent of ACP at %.0f/s, %d sessions", rate, talking), run.Samples, base, 0, 0, false)
	}
	return nil
}
