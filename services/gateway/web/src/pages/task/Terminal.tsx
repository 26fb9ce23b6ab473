import { FitAddon } from "@xterm/addon-fit";
import { Terminal as Xterm } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { useEffect, useRef, useState } from "react";
import { withOrg } from "@/api/org";
import { Button } from "@/ui/controls";
import { Empty, isActive } from "@/ui/states";
import { scriptedStyles } from "./scriptedStyles";
import { useOpened } from "./Task";

const NOT_RUNNING = 4404;

/** A terminal in the sandbox of a task that runs, over the socket that `rclaude shell` uses. */
export function Terminal() {
  const { task } = useOpened();
  const [round, again] = useState(0);
  const [ended, setEnded] = useState<string | null>(null);
  const box = useRef<HTMLDivElement>(null);
  const running = task.state === "running";
  useEffect(() => {
    const element = box.current;
    if (!running || !element) return;
    setEnded(null);
    const plainStyles = scriptedStyles(document);
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => computed(element, style.getPropertyValue(name));
    const terminal = new Xterm({
      fontFamily: getComputedStyle(element).fontFamily,
      fontSize: 13,
      cursorBlink: !window.matchMedia("(prefers-reduced-motion: reduce)").matches,
      minimumContrastRatio: 4.5,
      theme: { background: colour("--sunken"), foreground: colour("--text"), cursor: colour("--accent"), selectionBackground: colour("--line"), red: colour("--bad"), green: colour("--ok"), yellow: colour("--warn"), blue: colour("--busy"), brightRed: colour("--bad"), brightGreen: colour("--ok"), brightYellow: colour("--warn"), brightBlue: colour("--busy") },
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.open(element);
    fit.fit();
    const url = new URL(withOrg(`/v1/tasks/${task.id}/shell?columns=${terminal.cols}&rows=${terminal.rows}`), window.location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    let code: number | null = null;
    const encoder = new TextEncoder();
    const send = (data: string | Uint8Array<ArrayBuffer>) => socket.readyState === WebSocket.OPEN && socket.send(data);
    socket.onopen = () => terminal.focus();
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (typeof data === "string") code = Number((JSON.parse(data) as { code?: number }).code ?? 0);
      else terminal.write(new Uint8Array(data));
    };
    socket.onclose = ({ code: closed, reason }) => setEnded(code !== null ? `The shell has ended with ${code}.` : closed === NOT_RUNNING ? "The task does not run now." : reason || "The connection is lost.");
    terminal.onData((text) => send(encoder.encode(text)));
    terminal.onBinary((text) => send(Uint8Array.from(text, (char) => char.charCodeAt(0))));
    terminal.onResize(({ cols, rows }) => send(JSON.stringify({ type: "size", columns: cols, rows })));
    // Tab moves the focus on after Escape, so that the keyboard is not caught here.
    let leaving = false;
    terminal.attachCustomKeyEventHandler((event) => {
      if (event.type === "keydown" && event.key === "Tab" && leaving) return false;
      if (event.type === "keydown") leaving = event.key === "Escape";
      return true;
    });
    const observer = new ResizeObserver(() => fit.fit());
    observer.observe(element);
    return () => {
      observer.disconnect();
      socket.onclose = null;
      socket.close();
      terminal.dispose();
      plainStyles();
    };
  }, [running, task.id, round]);
  if (!running) return <Empty title={isActive(task.state) ? "Not yet" : "The sandbox is gone"}>{isActive(task.state) ? "A terminal opens once the task runs." : "A terminal opens in the sandbox of a task that runs."}</Empty>;
  return (
    <div className="flex h-full flex-col bg-sunken">
      <div ref={box} role="region" aria-label="Terminal" className="min-h-0 flex-1 overflow-hidden px-4 py-3 font-mono md:pl-[3.75rem]" />
      <div className="flex min-h-10 items-center gap-3 border-t border-line bg-surface px-4 py-1.5 text-xs text-muted md:pl-[3.75rem]">
        {ended ? <><span role="status">{ended}</span><Button onClick={() => again(round + 1)}>Open it again</Button></> : <span>In the sandbox of this task. Escape, then Tab leaves the terminal.</span>}
      </div>
    </div>
  );
}

/** A colour of the theme as the terminal takes it: it does not know `light-dark()`. */
function computed(element: HTMLElement, value: string): string {
  const probe = element.ownerDocument.createElement("span");
  probe.style.color = value;
  element.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
