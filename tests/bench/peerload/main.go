// Peerload drives a peer (etcd, Redis) as tests/bench/generator.py drives Holdfast: closed loop, the same
// keys in the same order, the same words with whoever started it. Compiled, so that what a peer is compared
// by is the peer and not an interpreter.
//
// On stdout, one JSON object a line: {"event":"warm"} once keys are there and the warm-up is over; then it
// waits for a line on stdin; {"event":"measured",...} the moment the time is over; {"event":"written"} when
// the latencies (float64 seconds, little endian) lie in the file -samples.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"time"
)

// options are the flags; tests/bench/peer_driver.py writes them.
type options struct {
	load      string
	endpoints []string
	callers   int
	conns     int
	keys      int
	value     []byte
	batch     int
	fill      bool
	warmup    time.Duration
	seconds   time.Duration
	samples   string
}

// call does the load's operation at one place of the key space.
type call func(place int) error

// peer gives each caller its call; fill puts every key once.
type peer interface {
	call(caller int) (call, error)
	fill() error
}

// outcome of one caller's loop.
type outcome struct {
	took   []float64
	errors int
	last   error
}

func main() {
	log.SetFlags(0)
	asked := parsed()
	target, err := connect(asked)
	if err != nil {
		log.Fatalf("peerload: %v", err)
	}
	if asked.fill {
		if err := target.fill(); err != nil {
			log.Fatalf("peerload: filling: %v", err)
		}
	}
	run(target, asked, asked.warmup)
	say(map[string]interface{}{"event": "warm"})
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		log.Fatalf("peerload: nobody said go: %v", err)
	}
	began := time.Now()
	outcomes := run(target, asked, asked.seconds)
	seconds := time.Since(began).Seconds()
	report(outcomes, asked, seconds)
}

func parsed() options {
	load := flag.String("load", "", "etcd-put, etcd-lget, etcd-sget, etcd-txn, redis-set, redis-get, redis-set-wait")
	endpoints := flag.String("endpoints", "", "HOST:PORT, several with commas")
	callers := flag.Int("callers", 1, "callers, each with one request under way")
	conns := flag.Int("conns", 1, "connections they share (etcd; with Redis each caller has its own)")
	keys := flag.Int("keys", 10000, "keys in the space")
	value := flag.Int("value", 256, "bytes of a value")
	batch := flag.Int("batch", 1, "puts in a transaction")
	fill := flag.Bool("fill", false, "put every key first")
	warmup := flag.Float64("warmup", 1, "seconds")
	seconds := flag.Float64("seconds", 3, "seconds")
	samples := flag.String("samples", "", "file the latencies go to")
	flag.Parse()
	return options{
		load: *load, endpoints: strings.Split(*endpoints, ","), callers: *callers, conns: *conns, keys: *keys,
		value: []byte(strings.Repeat("v", *value)), batch: *batch, fill: *fill,
		warmup:  time.Duration(*warmup * float64(time.Second)),
		seconds: time.Duration(*seconds * float64(time.Second)), samples: *samples,
	}
}

func connect(asked options) (peer, error) {
	if strings.HasPrefix(asked.load, "redis-") {
		return newRedis(asked), nil
	}
	return newEtcd(asked)
}

// run lets every caller ask again and again until the time is over.
func run(target peer, asked options, length time.Duration) []outcome {
	outcomes := make([]outcome, asked.callers)
	end := time.Now().Add(length)
	var all sync.WaitGroup
	for number := 0; number < asked.callers; number++ {
		do, err := target.call(number)
		if err != nil {
			log.Fatalf("peerload: caller %d: %v", number, err)
		}
		all.Add(1)
		go func(number int, do call) {
			defer all.Done()
			outcomes[number] = loop(number, do, asked.keys, end)
		}(number, do)
	}
	all.Wait()
	return outcomes
}

// loop asks for places in the order in which generator.py asks for them.
func loop(number int, do call, keys int, end time.Time) outcome {
	made := outcome{took: make([]float64, 0, 1<<14)}
	place := number * 7919
	for {
		before := time.Now()
		if !before.Before(end) {
			return made
		}
		place = (place + 104729) % keys
		if err := do(place); err != nil {
			made.errors++
			made.last = err
			continue
		}
		made.took = append(made.took, time.Since(before).Seconds())
	}
}

func report(outcomes []outcome, asked options, seconds float64) {
	count, failed, last := 0, 0, ""
	for _, made := range outcomes {
		count += len(made.took)
		failed += made.errors
		if made.last != nil {
			last = made.last.Error()
		}
	}
	say(map[string]interface{}{
		"event": "measured", "operations": count * asked.batch, "errors": failed, "last_error": last,
		"seconds": seconds,
	})
	if asked.samples != "" {
		if err := write(outcomes, asked.samples); err != nil {
			log.Fatalf("peerload: %v", err)
		}
	}
	say(map[string]interface{}{"event": "written"})
}

func write(outcomes []outcome, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriter(file)
	for _, made := range outcomes {
		if err := binary.Write(buffered, binary.LittleEndian, made.took); err != nil {
			return err
		}
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return file.Close()
}

func say(event map[string]interface{}) {
	line, err := json.Marshal(event)
	if err != nil {
		log.Fatalf("peerload: %v", err)
	}
	fmt.Println(string(line))
}

func key(place int) string {
	return fmt.Sprintf("device/%012d", place)
}
