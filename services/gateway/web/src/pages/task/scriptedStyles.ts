/** xterm.js writes its rules into `<style>` elements and its colours into `style` attributes; the page's content security policy takes neither. */

/**
 * Turns both into what the policy allows, for elements that are made from here on: adopted style sheets, and styles
 * that are set by script. Returns what ends that.
 */
export function scriptedStyles(document: Document): () => void {
  const plain = document.createElement.bind(document);
  document.createElement = ((tag: string, options?: ElementCreationOptions) => (tag === "style" ? sheetElement(document, plain("template")) : withScriptedStyle(plain(tag, options)))) as typeof document.createElement;
  return () => void Reflect.deleteProperty(document, "createElement");
}

/** Stands for a `<style>` element: its text goes into a style sheet of the document for as long as it is there. */
function sheetElement(document: Document, element: HTMLElement): HTMLElement {
  const sheet = new CSSStyleSheet();
  document.adoptedStyleSheets.push(sheet);
  Object.defineProperty(element, "textContent", { get: () => "", set: (text: string) => sheet.replaceSync(text) });
  const remove = element.remove.bind(element);
  element.remove = () => {
    document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
    remove();
  };
  return element;
}

function withScriptedStyle<Made extends HTMLElement>(element: Made): Made {
  const setAttribute = element.setAttribute.bind(element);
  element.setAttribute = (name: string, value: string) => {
    if (name === "style") element.style.cssText = value;
    else setAttribute(name, value);
  };
  return element;
}
