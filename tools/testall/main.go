// Testall runs the tests of several modules and ends with one line that counts them:
//
//	go -C tools run ./testall [-line FILE] MODULE-FOLDER... [-- FLAGS OF GO TEST]
//
// It prints one line for each package and the whole output of each test that failed. Every test and every subtest is
// counted as go test -json reports it; a package that fails without a failing test (it does not compile, its process
// ended) counts as one failure, and so does a module whose tests cannot be started. It exits with 1 if anything failed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	line := flag.String("line", "", "`file` that gets the closing line too")
	flag.Parse()
	modules, flags := flag.Args(), []string(nil)
	if i := slices.Index(modules, "--"); i >= 0 {
		modules, flags = modules[:i], modules[i+1:]
	}
	c := &count{out: os.Stdout}
	for _, m := range modules {
		c.module(m, flags)
	}
	closing := c.closing()
	fmt.Println(closing)
	if *line != "" {
		if err := os.WriteFile(*line, []byte(closing+"\n"), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "testall:", err)
			os.Exit(1)
		}
	}
	if c.failed > 0 || c.passed == 0 {
		os.Exit(1)
	}
}

// event is one line of go test -json; see go doc test2json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

// count adds up what the modules report.
type count struct {
	out                     io.Writer
	passed, failed, skipped int
	packages                map[string]*pack
}

// pack is what is known of one package whose tests run.
type pack struct {
	tests, failed int
	output        map[string]*strings.Builder // by test; "" is the package's own
	bad           []string                    // failed tests, in the order of their ends
}

func (c *count) closing() string {
	s := fmt.Sprintf("%d passed, %d failed", c.passed, c.failed)
	if c.skipped > 0 {
		s += fmt.Sprintf(", %d skipped", c.skipped)
	}
	return s
}

// module runs the tests of the module in dir.
func (c *count) module(dir string, flags []string) {
	before := c.failed
	c.packages = make(map[string]*pack)
	cmd := exec.Command("go", append(append([]string{"-C", dir, "test", "-json"}, flags...), "./...")...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		c.read(out)
		err = cmd.Wait()
	}
	if err != nil && c.failed == before {
		fmt.Fprintf(c.out, "FAIL  module %s: go test: %v\n", dir, err)
		c.failed++
	}
}

// read takes events until the stream ends. A line that is no event is printed as it is.
func (c *count) read(r io.Reader) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil:
			fmt.Fprintf(c.out, "%s", line)
		default:
			c.take(e)
		}
		if err != nil {
			return
		}
	}
}

func (c *count) take(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(c.out, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	p := c.packages[e.Package]
	if p == nil {
		p = &pack{output: make(map[string]*strings.Builder)}
		c.packages[e.Package] = p
	}
	switch {
	case e.Action == "output":
		if p.output[e.Test] == nil {
			p.output[e.Test] = new(strings.Builder)
		}
		p.output[e.Test].WriteString(e.Output)
	case e.Test != "":
		c.test(p, e)
	case e.Action == "pass" || e.Action == "fail":
		c.ended(p, e)
		delete(c.packages, e.Package)
	}
}

// test counts the end of one test. What a test that did not fail has printed is dropped.
func (c *count) test(p *pack, e event) {
	switch e.Action {
	case "pass":
		c.passed++
	case "skip":
		c.skipped++
	case "fail":
		c.failed++
		p.failed++
		p.bad = append(p.bad, e.Test)
	default:
		return
	}
	p.tests++
	if e.Action != "fail" {
		delete(p.output, e.Test)
	}
}

// ended prints the line of a package, and why it failed.
func (c *count) ended(p *pack, e event) {
	if e.Action == "pass" {
		fmt.Fprintf(c.out, "ok    %-60s %4d tests %7.2f s\n", e.Package, p.tests, e.Elapsed)
		return
	}
	for _, test := range p.bad {
		if b := p.output[test]; b != nil {
			fmt.Fprint(c.out, b.String())
		}
	}
	if p.failed == 0 {
		c.failed++
		if b := p.output[""]; b != nil {
			fmt.Fprint(c.out, b.String())
		}
	}
	fmt.Fprintf(c.out, "FAIL  %-60s %4d of %d tests failed %7.2f s\n", e.Package, p.failed, p.tests, e.Elapsed)
}
