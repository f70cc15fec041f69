// Writes htm's templates as JSX, so that the compiler reads them too: elements, attributes and the properties of components.
// Every line stays where it is, so that a complaint about the copy is one about the original.
import ts from 'typescript';

/** `source` with each html`…` as a JSX fragment. */
export function toJsx(source, name) {
  const file = ts.createSourceFile(name, source, ts.ScriptTarget.ES2023, true, ts.ScriptKind.JS);
  /** [from, to, text]: what replaces a part of the source. */
  const changes = [];
  const visit = (node) => {
    if (ts.isTaggedTemplateExpression(node) && node.tag.getText() === 'html') template(node, changes);
    ts.forEachChild(node, visit);
  };
  visit(file);
  // The tag itself is gone from the copy; it was used all the same.
  if (/import[^;]*\bhtml\b[^;]*from/.test(source)) changes.push([source.length, source.length, '\nvoid html;']);
  return changes
    .sort((a, b) => b[0] - a[0] || b[1] - a[1])
    .reduce((text, [from, to, put]) => text.slice(0, from) + put + text.slice(to), source);
}

function template(node, changes) {
  const { template: body } = node;
  changes.push([node.getStart(), body.getStart() + 1, '(<>'], [body.end - 1, body.end, '</>)']);
  if (ts.isNoSubstitutionTemplateLiteral(body)) return;
  let before = body.head;
  for (const { expression, literal } of body.templateSpans) {
    expressionIn(before, expression, literal, changes);
    before = literal;
  }
}

/** `${` and `}` around one expression, by what stands before them: `<` names a component, `...` spreads. */
function expressionIn(before, expression, after, changes) {
  const [open, close] = [before.end - 2, after.getStart()];
  if (/<\/?$/.test(before.text)) {
    changes.push([open, open + 2, ''], [close, close + 1, '']);
  } else if (before.text.endsWith('...')) {
    changes.push([open - 3, open + 2, '{...'], [close, close + 1, '}']);
  } else {
    changes.push([open, open + 2, '{'], [close, close + 1, '}']);
  }
}
