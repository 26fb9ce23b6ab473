import MarkdownToJsx from "markdown-to-jsx";
import type { ReactNode } from "react";
import { visible } from "@/text/ansi";

/** A link of an agent's: it shows where it leads, and leads nowhere but to the web. */
function OutwardLink({ href, children }: { href?: string; children?: ReactNode }) {
  const url = href && /^https?:\/\//i.test(href) ? href : null;
  if (!url) return <span>{children}</span>;
  const shown = typeof children === "string" || Array.isArray(children) ? String(Array.isArray(children) ? children.join("") : children) : "";
  return (
    <>
      <a href={url} target="_blank" rel="noreferrer noopener nofollow">{children}</a>
      {shown !== url && <span className="text-muted"> ({new URL(url).host})</span>}
    </>
  );
}

function NoImage({ alt, src }: { alt?: string; src?: string }) {
  return <span className="text-muted">[image: {alt || src}]</span>;
}

/** What an agent says. HTML in it is text; images are named, not loaded. */
export default function Markdown({ text }: { text: string }) {
  return (
    <MarkdownToJsx
      options={{
        disableParsingRawHTML: true,
        disableFrontmatter: true,
        forceBlock: true,
        overrides: { a: OutwardLink, img: NoImage, input: () => null },
      }}
    >
      {visible(text)}
    </MarkdownToJsx>
  );
}
